//! What an actor does, and what is noted down of it.
//!
//! Invariant: a transaction is noted down with each answer it had, and with what became of
//! it as it was told; what nobody was told is [`Fate::Unknown`] or [`Fate::Dropped`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::{
    Claim, Concluded, CronEntry, Engine, JobEnd, JobEnded, Later, Lsn, Principal, Refusal, Role,
};
use parking_lot::Mutex;
use platform::Clock;
use proto::doc::Doc;
use proto::http::HttpResponse;
use proto::{Reply, Request, Status};
use runtime_api::{Instance, Limits, Module};

use crate::baton;
use crate::guest::{Heard, Record, SimHost, begin_record, request_of, take_record};
use crate::model::is_fault;
use crate::oracle::{Fate, JobDone, Known, Segment};
use crate::packets::{OUTSIDE, orders, packet, packet_of, scheduled};
use crate::plan::{EVERY, Ending, Job, Step};

/// What actors tell the world.
#[derive(Default)]
pub struct Told {
    /// Transactions that have ended.
    pub segments: Vec<Segment>,
    /// Commits of the service's own.
    pub own: Vec<Lsn>,
    /// What anybody was told.
    pub known: Known,
    /// How often each job was delivered to the service outside.
    pub delivered: BTreeMap<u64, u64>,
    /// Jobs at work.
    pub at_work: BTreeSet<u128>,
    /// What is wrong.
    pub failure: Option<String>,
    /// States reached, and outcomes, in words.
    pub happened: Vec<String>,
}

/// What an actor needs of one opening of the service.
#[derive(Clone)]
pub struct Service {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The guest.
    pub module: Arc<dyn Module>,
    /// Its host.
    pub host: Arc<SimHost>,
    /// Where what happens is noted down.
    pub told: Arc<Mutex<Told>>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Box<dyn Instance>>> = const { RefCell::new(None) };
}

/// The instance that this actor has kept goes.
pub fn drop_instance() {
    INSTANCE.set(None);
}

impl Service {
    fn acknowledge(&self, lsn: Lsn) {
        let mut told = self.told.lock();
        told.known.commit = told.known.commit.max(lsn);
    }

    fn known(&self) -> Known {
        self.told.lock().known
    }

    fn happened(&self, what: String) {
        self.told.lock().happened.push(what);
    }

    fn fails(&self, why: String) {
        self.told.lock().failure.get_or_insert(why);
    }

    /// Ends transactions: who asked is told now.
    fn tell(&self, mut segments: Vec<Segment>) {
        for segment in &mut segments {
            if let Fate::Committed(lsn) = segment.fate {
                self.acknowledge(lsn);
            }
            let known = &mut self.told.lock().known;
            known.transactions += 1;
            segment.told = known.transactions;
        }
        self.told.lock().segments.extend(segments);
    }

    /// Calls the guest with a request. `None`: it trapped, or there is no instance.
    fn call(&self, request: &[u8], job: Option<Claim>) -> (Option<Vec<u8>>, Record) {
        let kept = INSTANCE.take();
        let host = Arc::clone(&self.host);
        let limits = Limits { deadline_nanos: 10_000_000_000, ..Limits::default() };
        let instance = kept.map_or_else(|| self.module.instantiate(host, &limits), Ok);
        let mut instance = match instance {
            Ok(instance) => instance,
            Err(trap) => {
                self.happened(format!("no instance: {:?}", trap.kind()));
                return (None, Record::default());
            }
        };
        let mut response = Vec::new();
        begin_record(job);
        let outcome = instance.process(request, &mut response);
        let record = take_record();
        match outcome {
            Ok(_) => {
                INSTANCE.set(Some(instance));
                (Some(response), record)
            }
            Err(trap) => {
                self.happened(format!("trap: {:?}", trap.kind()));
                if !trap.kind().kills() {
                    INSTANCE.set(Some(instance));
                }
                (None, record)
            }
        }
    }

    /// A request of a client.
    pub fn run_call(&self, whose: &str, get: bool, status: u16, steps: &[Step]) {
        let packets: Vec<_> = steps.iter().map(|step| packet_of(step, None)).collect();
        let request = request_of(get, status, &orders(steps, &packets));
        let (response, record) = self.call(&request, None);
        let answer = response.as_deref().map(|bytes| {
            HttpResponse::decode(bytes).map(|answer| answer.status).unwrap_or_default()
        });
        self.happened(format!("{whose}: {answer:?} at the attempt {}", record.attempts));
        self.check_answer(whose, status, response.as_deref(), &record);
        self.tell(segments(whose, steps, &record, None));
    }

    /// The guest's answer is what it was told.
    fn check_answer(&self, whose: &str, status: u16, response: Option<&[u8]>, record: &Record) {
        let stands = !matches!(record.concluded, Some((Concluded::Refused(_), _)));
        let (Some(response), true) = (response, stands) else { return };
        let mut body = Vec::new();
        for Heard { reply, .. } in &record.heard {
            body.extend_from_slice(&(reply.len() as u32).to_le_bytes());
            body.extend_from_slice(reply);
        }
        match HttpResponse::decode(response) {
            Ok(answer) if (answer.status, answer.body) == (status, &body[..]) => {}
            answer => self.fails(format!("{whose}: the guest answered {answer:?}")),
        }
    }

    /// A job that is due, if one is.
    pub fn run_job(&self, whose: &str, jobs: &BTreeMap<u64, Job>) {
        let taken = |key: proto::Key| self.told.lock().at_work.contains(&key.0);
        let due = match self.engine.due_jobs(1, taken) {
            Ok(due) => due,
            Err(refusal) => return self.refused(whose, &refusal),
        };
        let Some(key) = due.now.first().copied() else { return };
        self.told.lock().at_work.insert(key.0);
        let since = self.known();
        match self.engine.take_job(key) {
            Ok(Some(job)) => {
                let whose = format!("{whose}, job {}", job.path);
                let steps = vec![(Step::Take(key.0), Vec::new())];
                let fate = Fate::Read;
                self.tell(vec![Segment {
                    whose: whose.clone(),
                    steps,
                    since,
                    told: 0,
                    fate,
                    job: None,
                }]);
                let id = job.path.trim_start_matches('/').parse().unwrap_or(0);
                match jobs.get(&id) {
                    Some(of) if of.outside => self.deliver(&whose, &job, of),
                    Some(of) => self.attempt(&whose, &job, of),
                    None => self.fails(format!("{whose} is none that was scheduled")),
                }
            }
            Ok(None) => {}
            Err(refusal) => self.refused(whose, &refusal),
        }
        self.told.lock().at_work.remove(&key.0);
    }

    /// The timetable: what has come to its time fires, in order, a few times at most.
    pub fn mind(&self, whose: &str, clock: &dyn Clock) {
        let entry = match entry(&self.engine) {
            Ok(entry) => entry,
            Err(refusal) => return self.refused(whose, &refusal),
        };
        for _ in 0..3 {
            baton::between_requests();
            let since = self.known();
            let last = match self.engine.cron_last(&entry) {
                Ok(Some(last)) => last,
                Ok(None) => return self.fails(format!("{whose}: nothing is noted")),
                Err(refusal) => return self.refused(whose, &refusal),
            };
            let one = |step, since, fate| {
                let (whose, steps) = (format!("{whose}, timetable"), vec![(step, Vec::new())]);
                vec![Segment { whose, steps, since, told: 0, fate, job: None }]
            };
            self.tell(one(Step::Fired(last), since, Fate::Read));
            let at = last + EVERY;
            if at > clock.wall_micros().cast_signed() / 1000 {
                return;
            }
            baton::between_requests();
            let (since, mut done) = (self.known(), Ok(None));
            let note = || done = self.engine.note_cron(&entry, at, true);
            let (committed, _) = self.engine.watched(note);
            self.happened(format!("{whose}: fires at {at}: {done:?}"));
            match (committed.last(), done) {
                (Some(commit), done) => {
                    let key = done.ok().flatten().map(|key| key.0);
                    self.tell(one(Step::Fire(at, key), since, Fate::Committed(commit.lsn)));
                }
                // Another was there before.
                (None, Ok(_)) => {}
                (None, Err(refusal)) => {
                    self.tell(one(Step::Fire(at, None), since, Fate::Unknown));
                    return self.refused(whose, &refusal);
                }
            }
        }
    }

    /// A service outside is called, while others go on; what it answers ends the job, by a
    /// commit behind that.
    fn deliver(&self, whose: &str, job: &engine::Job, of: &Job) {
        if job.upstream.as_deref() != Some(OUTSIDE) {
            return self.fails(format!("{whose} goes to {:?}", job.upstream));
        }
        let times = {
            let mut told = self.told.lock();
            let times = told.delivered.entry(of.id).or_insert(0);
            *times += 1;
            *times
        };
        self.happened(format!("{whose}: delivered {times} times, {}", of.status));
        baton::between_requests();
        let why = || format!("it answered {}", of.status);
        let end = match of.status {
            0 => JobEnd::Postponed(Later::of("it is left alone")),
            200..=299 => JobEnd::Done,
            500.. => JobEnd::Failed(Later::of(why())),
            _ => JobEnd::Refused(why()),
        };
        self.end_job(whose, job, &end);
    }

    fn attempt(&self, whose: &str, job: &engine::Job, of: &Job) {
        let Job { steps, status, .. } = of;
        let status = *status;
        let mut request = Vec::new();
        let headers = proto::http::HeadersBuf::new();
        proto::http::write_request(
            &mut request,
            &job.method,
            &job.path,
            "",
            &headers,
            &job.payload,
        );
        let (response, record) = self.call(&request, Some(job.claim()));
        self.check_answer(whose, status, response.as_deref(), &record);
        let answer = response.as_deref().and_then(|bytes| HttpResponse::decode(bytes).ok());
        self.happened(format!(
            "{whose}: {:?}, {:?} at the attempt {}",
            answer.as_ref().map(|answer| answer.status),
            record.ended,
            record.attempts
        ));
        let settled = record.ended == Some(JobEnded::Settled);
        let dead = status >= 400;
        let done = JobDone { key: job.key.0, dead };
        let mut all = segments(whose, steps, &record, settled.then_some(done));
        if let (false, Some(last)) = (settled, all.last_mut())
            && last.fate == Fate::Unknown
        {
            last.job = Some(done);
        }
        self.tell(all);
        let end = match (&record.ended, answer) {
            (Some(JobEnded::Settled | JobEnded::Gone), _) => return,
            (Some(JobEnded::Failed(why)), _) => JobEnd::Failed(Later::of(why.clone())),
            // It asked for nothing: its end is a commit of its own.
            (None, Some(answer)) => JobEnd::of(&answer),
            (None, None) => JobEnd::Failed(Later::of("it trapped")),
        };
        self.end_job(whose, job, &end);
    }

    fn end_job(&self, whose: &str, job: &engine::Job, end: &JobEnd) {
        let (since, mut done) = (self.known(), None);
        let (committed, _) =
            self.engine.watched(|| done = Some(self.engine.end_job(job.claim(), end)));
        let fate = match (committed.last(), done) {
            (Some(commit), _) => Fate::Committed(commit.lsn),
            (None, Some(Ok(_))) => return,
            (None, _) => Fate::Unknown,
        };
        let effect = match end {
            JobEnd::Done => Some(JobDone { key: job.key.0, dead: false }),
            JobEnd::Refused(_) => Some(JobDone { key: job.key.0, dead: true }),
            _ => None,
        };
        match (effect, fate) {
            (Some(job), fate) => {
                let (whose, steps) = (format!("the end of {whose}"), Vec::new());
                self.tell(vec![Segment { whose, steps, since, told: 0, fate, job: Some(job) }]);
            }
            // It is put off.
            (None, Fate::Committed(lsn)) => self.told.lock().own.push(lsn),
            (None, _) => {}
        }
    }

    fn refused(&self, whose: &str, refusal: &engine::Refusal) {
        self.happened(format!("{whose}: {}", refusal.status));
        if !is_fault(refusal.status) {
            self.fails(format!("{whose}: {refusal}"));
        }
    }

    fn ask(&self, who: &Principal, packet: &[u8]) -> Heard {
        baton::between_requests();
        let before = self.known();
        let mut reply = Vec::new();
        let (committed, _) =
            self.engine.watched(|| self.engine.dispatch_packet(who, packet, &mut reply));
        if let Some(last) = committed.last() {
            self.acknowledge(last.lsn);
        }
        Heard { reply, before, committed }
    }

    /// What a client asks over the wire.
    pub fn run_wire(&self, whose: &str, steps: &[Step], ending: Ending) {
        let session = self.engine.begin_session();
        let who = Principal::new("root", Role::Admin).in_session(session);
        match ending {
            Ending::None => steps.iter().for_each(|step| self.single(whose, &who, step)),
            ending => self.transaction(whose, &who, steps, ending),
        }
        self.engine.end_session(&who);
    }

    fn single(&self, whose: &str, who: &Principal, step: &Step) {
        let Some(packet) = packet_of(step, None) else { return };
        let Heard { mut reply, before, committed } = self.ask(who, &packet);
        let status = status_of(&reply);
        let fate = match (committed.last(), status) {
            (Some(commit), _) => Fate::Committed(commit.lsn),
            (None, Some(status)) if is_fault(status) => {
                // It may have been written for all that.
                reply.clear();
                Fate::Unknown
            }
            (None, _) => Fate::Read,
        };
        self.happened(format!("{whose}: {step:?} {status:?} {fate:?}"));
        let steps = vec![(step.clone(), reply)];
        let whose = format!("{whose}, alone");
        self.tell(vec![Segment { whose, steps, since: before, told: 0, fate, job: None }]);
    }

    fn transaction(&self, whose: &str, who: &Principal, steps: &[Step], ending: Ending) {
        let begin = packet(&Request::Begin { read_only: false, millis: 0 });
        let Heard { reply, before, .. } = self.ask(who, &begin);
        let number = match Reply::decode(&reply) {
            Ok((_, Reply::Document(begun))) => begun_number(begun),
            _ => None,
        };
        let Some(number) = number else {
            return self.happened(format!("{whose}: no transaction: {:?}", status_of(&reply)));
        };
        let mut said = Vec::new();
        for step in steps {
            let Some(packet) = packet_of(step, Some(number)) else { continue };
            let heard = self.ask(who, &packet);
            let status = status_of(&heard.reply);
            if status == Some(Status::UnknownTransaction)
                || status == Some(Status::TransactionConflict)
            {
                self.happened(format!("{whose}: it is no more"));
                let (whose, steps) = (whose.to_owned(), said);
                let fate = Fate::Dropped;
                return self.tell(vec![Segment {
                    whose,
                    steps,
                    since: before,
                    told: 0,
                    fate,
                    job: None,
                }]);
            }
            said.push((step.clone(), heard.reply));
        }
        let fate = match ending {
            Ending::Commit => {
                let heard = self.ask(who, &packet(&Request::Commit { transaction: number }));
                match (heard.committed.last(), status_of(&heard.reply)) {
                    (Some(commit), _) => Fate::Committed(commit.lsn),
                    (None, None) => Fate::Read,
                    (None, Some(Status::TransactionConflict | Status::UnknownTransaction)) => {
                        Fate::Dropped
                    }
                    (None, _) => Fate::Unknown,
                }
            }
            Ending::Abort => {
                self.ask(who, &packet(&Request::Abort { transaction: number }));
                Fate::Read
            }
            Ending::None | Ending::Leave => Fate::Read,
        };
        self.happened(format!("{whose}: {ending:?} {fate:?}"));
        let whose = format!("{whose}, {ending:?}");
        self.tell(vec![Segment { whose, steps: said, since: before, told: 0, fate, job: None }]);
    }
}

/// The one entry of the timetable.
pub fn entry(engine: &Engine) -> Result<CronEntry, Refusal> {
    engine.cron_entry("tick", "often", &scheduled(&Job::tick()))
}

/// The number of a transaction that was begun.
fn begun_number(document: &[u8]) -> Option<u64> {
    let number = Doc::parse(document).ok()?.get("transaction")?.as_i64()?;
    Some(number.unsigned_abs())
}

fn status_of(reply: &[u8]) -> Option<Status> {
    match Reply::decode(reply) {
        Ok((_, Reply::Error { status, .. })) => Some(status),
        _ => None,
    }
}

/// The transactions that a call was, of its last attempt.
fn segments(whose: &str, steps: &[Step], record: &Record, job: Option<JobDone>) -> Vec<Segment> {
    let mut all = Vec::new();
    let mut heard = record.heard.iter();
    let mut now: Vec<(Step, Vec<u8>)> = Vec::new();
    let mut since = None;
    let stands = matches!(record.concluded, Some((Concluded::Stands, _)));
    let end = |steps: Vec<(Step, Vec<u8>)>, since: Option<Known>, fate, job| Segment {
        whose: format!("{whose}, call"),
        steps,
        since: since.unwrap_or_default(),
        told: 0,
        fate,
        job,
    };
    for step in steps.iter().filter(|step| !matches!(step, Step::Spin(_) | Step::Trap)) {
        let Some(Heard { reply, before, committed }) = heard.next() else { break };
        let fate = match step {
            Step::Commit => match (committed.last(), status_of(reply)) {
                (Some(commit), _) => Fate::Committed(commit.lsn),
                (None, None) => Fate::Read,
                (None, Some(Status::TransactionConflict)) => Fate::Dropped,
                (None, Some(_)) => Fate::Unknown,
            },
            // Told with the answer, if there is one.
            Step::Abort if stands => Fate::Read,
            Step::Abort => Fate::Dropped,
            _ => {
                since.get_or_insert(*before);
                now.push((step.clone(), reply.clone()));
                continue;
            }
        };
        all.push(end(std::mem::take(&mut now), since.take(), fate, None));
    }
    let fate = match &record.concluded {
        Some((Concluded::Stands, committed)) => {
            committed.last().map_or(Fate::Read, |commit| Fate::Committed(commit.lsn))
        }
        Some((Concluded::Refused(refusal), committed)) => {
            match (committed.last(), refusal.status) {
                (Some(commit), _) => Fate::Committed(commit.lsn),
                (None, Status::TransactionConflict | Status::Changed) => Fate::Dropped,
                (None, _) => Fate::Unknown,
            }
        }
        Some((Concluded::Again(_), _)) | None => Fate::Dropped,
    };
    all.push(end(now, since, fate, job));
    all
}
