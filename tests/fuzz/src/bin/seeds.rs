//! Writes the inputs that are made into the corpora, and removes those that no longer
//! are: `cargo run --manifest-path tests/fuzz/Cargo.toml --bin seeds`.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in fuzz::TARGETS {
        let dir = corpora.join(target.name);
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("made-") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    let seeds = fuzz::seeds::all();
    for seed in &seeds {
        fs::write(corpora.join(seed.target).join(&seed.file), &seed.bytes)?;
    }
    println!("{} inputs written", seeds.len());
    Ok(())
}
