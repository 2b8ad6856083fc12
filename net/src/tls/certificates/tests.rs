//! Looks at files that change, at times that are given.

use super::*;
use crate::tls::{RENEW_DAYS, VALID_DAYS};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::fs;

const DAY: Duration = REMIND;

fn day(n: u64) -> SystemTime {
    SystemTime::now() + DAY * u32::try_from(n).unwrap()
}

/// A service's own pair in a directory.
struct Own(tempfile::TempDir);

impl Own {
    fn new() -> Own {
        let own = Own(tempfile::tempdir().unwrap());
        own.write(&KeyPair::generate().unwrap(), 2999);
        own
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// A certificate that ends with the year before.
    fn write(&self, pair: &KeyPair, until: i32) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        fs::write(self.path("key.pem"), pair.serialize_pem()).unwrap();
        fs::write(self.path("cert.pem"), params.self_signed(pair).unwrap().pem()).unwrap();
    }

    fn source(&self) -> Source {
        Source::Files { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }

    fn open(&self) -> Certificates {
        Certificates::open(self.source(), None).unwrap()
    }
}

fn served(certificates: &Certificates) -> Vec<u8> {
    certificates.served.0.read().unwrap().cert[0].to_vec()
}

fn refusal(changes: Vec<Change>) -> String {
    match &changes[..] {
        [Change::Refused(error)] => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_did_not_change_change_nothing() {
    let own = Own::new();
    let certificates = own.open();
    let before = served(&certificates);
    assert!(certificates.refresh(false).is_empty() && certificates.refresh(true).is_empty());
    assert_eq!(served(&certificates), before);
}

#[test]
fn another_pair_is_served_and_its_fingerprint_told() {
    let own = Own::new();
    let certificates = own.open();
    let (pin, first) = (certificates.fingerprint(), served(&certificates));
    own.write(&KeyPair::generate().unwrap(), 2999);
    match &certificates.refresh(false)[..] {
        [Change::Reloaded { before, now, .. }] => {
            assert!(*before == pin && *now == certificates.fingerprint() && before != now);
        }
        other => panic!("{other:?}"),
    }
    assert_ne!(served(&certificates), first);
    assert!(certificates.refresh(false).is_empty());
}

#[test]
fn what_cannot_be_served_is_refused_once_and_the_old_pair_serves_on() {
    let own = Own::new();
    let certificates = own.open();
    let (before, whole) = (served(&certificates), fs::read(own.path("cert.pem")).unwrap());
    let key = fs::read(own.path("key.pem")).unwrap();
    let other = KeyPair::generate().unwrap();
    let cases: [(&str, &dyn Fn()); 5] = [
        ("not of one pair", &|| {
            fs::write(own.path("key.pem"), other.serialize_pem()).unwrap();
        }),
        ("no PEM certificate", &|| fs::write(own.path("cert.pem"), "no").unwrap()),
        ("cannot be used", &|| {
            let text = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
            fs::write(own.path("cert.pem"), text).unwrap();
        }),
        ("cannot read", &|| fs::remove_file(own.path("cert.pem")).unwrap()),
        ("is not valid now", &|| own.write(&other, 2021)),
    ];
    for (fault, spoil) in cases {
        spoil();
        let said = refusal(certificates.refresh(false));
        assert!(said.contains(fault), "{fault}: {said}");
        assert!(certificates.refresh(false).is_empty(), "{fault}: it was said");
        assert!(refusal(certificates.refresh(true)).contains(fault), "{fault}: said when asked");
        assert_eq!(served(&certificates), before, "{fault}");
        fs::write(own.path("cert.pem"), &whole).unwrap();
        fs::write(own.path("key.pem"), &key).unwrap();
        assert!(certificates.refresh(false).is_empty(), "{fault}: as it was");
    }
}

#[test]
fn the_self_signed_is_renewed_while_it_serves_and_keeps_its_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let names = vec!["host.example".to_owned()];
    let source = Source::SelfSigned { directory: dir.path().to_owned(), names };
    let certificates = Certificates::open(source.clone(), None).unwrap();
    // A second listener of the same service.
    let second = Certificates::open(source, None).unwrap();
    let (pin, first) = (certificates.fingerprint(), served(&certificates));
    let due = VALID_DAYS - RENEW_DAYS;
    assert!(certificates.refresh_at(false, day(due - 1)).is_empty());
    let changes = certificates.refresh_at(false, day(due + 1));
    assert!(matches!(changes[..], [Change::Renewed]), "{changes:?}");
    assert!(certificates.fingerprint() == pin && served(&certificates) != first);
    assert!(certificates.refresh_at(false, day(due + 1)).is_empty());
    let changes = second.refresh_at(false, day(due + 2));
    assert!(
        matches!(changes[..], [Change::Reloaded { before, now, .. }] if before == pin && now == pin),
        "{changes:?}"
    );
    assert_eq!(served(&second), served(&certificates));
}

#[test]
fn the_end_of_a_pair_brought_along_is_told_once_a_day() {
    let own = Own::new();
    let pair = KeyPair::generate().unwrap();
    own.write(&pair, 2999);
    let certificates = own.open();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(32_472_144_000); // 2999-01-01
    assert!(certificates.refresh_at(false, end - 31 * DAY).is_empty());
    let near = end - 10 * DAY;
    assert!(matches!(certificates.refresh_at(false, near)[..], [Change::Ends(10)]));
    assert!(certificates.refresh_at(false, near + DAY / 2).is_empty());
    assert!(matches!(certificates.refresh_at(false, near + DAY)[..], [Change::Ends(9)]));
}

#[test]
fn one_that_has_ended_is_served_at_start_with_a_warning() {
    let own = Own::new();
    own.write(&KeyPair::generate().unwrap(), 2021);
    let certificates = own.open();
    let warnings = certificates.warnings();
    assert!(warnings.iter().any(|w| w.contains("is not valid now")), "{warnings:?}");
}

#[test]
fn authorities_of_clients_are_swapped_or_refused() {
    let own = Own::new();
    fs::copy(own.path("cert.pem"), own.path("ca.pem")).unwrap();
    let ca = own.path("ca.pem");
    let certificates = Certificates::open(own.source(), Some(&ca)).unwrap();
    assert!(certificates.asks_clients() && certificates.refresh(false).is_empty());
    fs::write(&ca, "no certificate").unwrap();
    assert!(refusal(certificates.refresh(false)).contains("ca.pem holds no PEM certificate"));
    assert!(certificates.refresh(false).is_empty());
    let dir = Own::new();
    fs::copy(dir.path("cert.pem"), &ca).unwrap();
    assert!(matches!(certificates.refresh(false)[..], [Change::Clients]));
    let missing = Certificates::open(own.source(), Some(&own.path("none.pem"))).unwrap_err();
    assert!(missing.to_string().contains("none.pem"), "{missing}");
}
