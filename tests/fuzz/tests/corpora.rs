//! Every committed input of every target, as a plain test; and that the targets
//! reach what they are for.

use std::path::Path;

#[test]
fn no_committed_input_breaks_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut run = 0;
    for (name, target) in fuzz::TARGETS {
        target(&[]);
        let mut inputs: Vec<_> = std::fs::read_dir(corpora.join(name))
            .unwrap_or_else(|e| panic!("the corpus of {name}: {e}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for input in inputs {
            target(&std::fs::read(&input).unwrap());
            run += 1;
        }
    }
    println!("{run} inputs");
}
