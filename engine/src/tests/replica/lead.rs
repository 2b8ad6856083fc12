//! Who takes writes: promoted, demoted, fenced, cut off.

use super::*;

#[test]
fn a_promoted_replica_takes_writes_and_the_old_primary_is_fenced() {
    let (primary, replica, disk) = pair();
    insert(&primary, 2, "{}");
    follow(&primary, &replica);
    refused(&primary, Request::Promote, Status::WrongRole, &["already"]);
    let told = document(&replica, &admin(), Request::Promote).unwrap();
    let lsn = replica.lsm.last_lsn() as i64;
    let told = Doc::parse(&told).unwrap();
    let number = |name| told.get(name).unwrap().as_i64();
    assert_eq!((number("term"), number("lsn")), (Some(1), Some(lsn)));
    insert(&replica, 3, "{}");
    assert!(replica.leads());
    assert_eq!(page(&primary, &replica, 9).unwrap_err().status, Status::WrongRole);
    // It is the primary after a restart, too.
    replica.sync().unwrap();
    drop(replica);
    let promoted = open_of(&disk, "db.example:24010", 9);
    insert(&promoted, 4, "{}");

    // A replica of the new primary that comes to the old one tells it that it is none.
    let third = SimDisk::new(3);
    bootstrap(&promoted, &third);
    let third = open_of(&third, "x:1", 5);
    follow(&promoted, &third);
    let what = third.follow_request(1 << 20, 0).unwrap();
    let asked = document(&primary, &replicator(), Request::Follow { what: &what }).unwrap_err();
    assert_eq!(asked.status, Status::OlderTerm, "{asked}");
    assert!(!primary.leads());
    refused(&primary, query("s.insert({a: 1})"), Status::NotLeader, &["replica"]);
    // It had no commit of its own since: it may follow.
    follow(&promoted, &primary);
    same(&promoted, &primary);
    same(&promoted, &third);
}

#[test]
fn an_old_primary_with_commits_of_its_own_is_not_merged() {
    let (primary, replica, _) = pair();
    follow(&primary, &replica);
    insert(&primary, 2, r#"{"of": "the old primary"}"#);
    done(&replica, Request::Promote);
    insert(&replica, 2, r#"{"of": "the new one"}"#);
    primary.sync().unwrap();
    replica.sync().unwrap();
    done(&primary, Request::Demote);
    refused(&primary, Request::Demote, Status::WrongRole, &["already"]);
    let before = primary.lsm.last_lsn();
    let refused = page(&replica, &primary, 1 << 20).unwrap_err();
    assert_eq!(refused.status, Status::Diverged, "{refused}");
    assert!(refused.message.contains(&format!("commits {before} to {before}")), "{refused}");
    assert_eq!(primary.lsm.last_lsn(), before);
    // Nor does a promoted one take a page of the old.
    let told = document(&primary, &replicator(), Request::Follow { what: &doc("{}") });
    assert_eq!(told.unwrap_err().status, Status::BadFollow);
}

#[test]
fn two_replicas_promoted_each_for_itself_do_not_follow_one_another() {
    let (primary, one, _) = pair();
    let disk = SimDisk::new(3);
    bootstrap(&primary, &disk);
    let two = open_of(&disk, "x:1", 5);
    follow(&primary, &one);
    follow(&primary, &two);
    done(&one, Request::Promote);
    done(&two, Request::Promote);
    done(&two, Request::Demote);
    one.sync().unwrap();
    assert_eq!(page(&one, &two, 1 << 20).unwrap_err().status, Status::Diverged);
}

#[test]
fn promotions_and_demotions_are_in_the_audit_log() {
    let disk = SimDisk::new(1);
    let audit = Some(AuditOptions::default());
    let engine = open_on(disk.clone(), Options { audit, ..options() });
    done(&engine, Request::Demote);
    done(&engine, Request::Promote);
    let of = |name: &&String| name.starts_with("audit/");
    let files = disk.files();
    let lines: String = files
        .iter()
        .filter(of)
        .map(|name| String::from_utf8(disk.file_bytes(name).unwrap()).unwrap())
        .collect();
    for words in [r#""Demote""#, r#""Promote""#] {
        assert_eq!(lines.matches(words).count(), 2, "begun and done: {lines}");
    }
}

#[test]
fn a_promotion_that_a_crash_cut_off_is_whole_or_was_none() {
    let calls = {
        let (primary, replica, disk) = pair();
        follow(&primary, &replica);
        let before = disk.calls();
        done(&replica, Request::Promote);
        disk.calls() - before
    };
    let (mut whole, mut none) = (0, 0);
    for at in 0..calls {
        let (primary, replica, disk) = pair();
        follow(&primary, &replica);
        disk.crash_after(at);
        let said = ask(&replica, Request::Promote);
        drop(replica);
        let disk = disk.restart_worst();
        let again = open_of(&disk, "x:1", 11);
        match again.leads() {
            true => {
                whole += 1;
                assert_eq!(again.replication().term, 1);
                insert(&again, 5, "{}");
            }
            false => {
                none += 1;
                assert!(matches!(said, Said::Refused(..)), "call {at}: {said:?}");
                follow(&primary, &again);
                same(&primary, &again);
                done(&again, Request::Promote);
            }
        }
    }
    assert!(whole > 0 && none > 0, "{whole} {none}");
}
