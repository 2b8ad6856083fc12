//! The admin of the first start, and who is let in.

use std::cell::RefCell;

use platform::sim::SimDisk;
use proto::Status;

use super::kit::*;
use crate::Role;

#[test]
fn first_start_makes_one_admin_whose_key_lets_in() {
    let engine = open();
    let key = engine.ensure_admin().unwrap().unwrap();
    assert_eq!(key.len(), 64);
    assert!(key.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(engine.ensure_admin(), Ok(None));
    let who = engine.authenticate("admin", &key).unwrap();
    assert_eq!((who.name(), who.role()), ("admin", Role::Admin));

    let wrong_key = engine.authenticate("admin", &key[1..]).unwrap_err();
    let wrong_user = engine.authenticate("nobody", &key).unwrap_err();
    assert_eq!(wrong_key.status, Status::BadCredentials);
    assert_eq!(wrong_key, wrong_user, "they cannot be told apart");
    assert!(wrong_key.message.contains("check both"));
    assert!(engine.authenticate("", "").is_err());
}

#[test]
fn nobody_is_let_in_before_there_is_a_user() {
    assert!(open().authenticate("admin", "").is_err());
}

#[test]
fn the_key_is_on_no_disk_and_the_user_survives_a_power_cut() {
    let disk = SimDisk::new(3);
    let engine = open_on(disk.clone(), options());
    let key = engine.ensure_admin().unwrap().unwrap();
    drop(engine);
    let engine = open_on(disk.restart_worst(), options());
    assert_eq!(engine.ensure_admin(), Ok(None));
    assert!(engine.authenticate("admin", &key).is_ok());
    engine.flush().unwrap();
    let raw: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
    for file in disk.files() {
        let bytes = disk.file_bytes(&file).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
        assert!(!holds(key.as_bytes()) && !holds(&raw), "{file} holds the key");
    }
}

#[test]
fn without_a_saved_key_no_user_is_made() {
    let engine = open();
    let shown = RefCell::new(String::new());
    let refusal = engine
        .ensure_admin_saved(|key| {
            *shown.borrow_mut() = key.to_owned();
            Err(std::io::Error::other("no such directory"))
        })
        .unwrap_err();
    assert_eq!(refusal.status, Status::Io);
    assert!(refusal.message.contains("no such directory"), "{refusal}");
    assert!(engine.authenticate("admin", &shown.borrow()).is_err());
    let saved = RefCell::new(String::new());
    let save = |key: &str| {
        *saved.borrow_mut() = key.to_owned();
        Ok(())
    };
    assert_eq!(engine.ensure_admin_saved(save), Ok(true));
    assert_ne!(*saved.borrow(), *shown.borrow());
    assert!(engine.authenticate("admin", &saved.borrow()).is_ok());
}
