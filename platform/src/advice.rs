//! What an error of stored bytes tells its reader to do: one wording for all layers.
//!
//! Invariant: commands and arguments are those of the `planck` and `planctl` programs
//! (`bins/planck/src/tools.rs`, `bins/planctl/src/commands`).

/// What to do about damage, with the commands.
pub const RESTORE: &str = "stop planck and keep this directory; `planck verify --dir DIR` names all \
                           that is damaged, `planck restore --from BACKUPS --dir NEW` brings a \
                           backup back, `planck salvage --dir DIR --to NEW` saves what is provably \
                           good";

/// What to do about bytes of another format than the one known.
#[must_use]
pub const fn other_format(found: u32, known: u32) -> &'static str {
    if found < known {
        "an older version of planck wrote it and nothing was changed: run that version, take the \
         data out with `planctl export`, and put it into a new directory of this version with \
         `planctl import`"
    } else {
        "a newer version of planck wrote it and nothing was changed: run the release that wrote it, \
         or a newer one"
    }
}
