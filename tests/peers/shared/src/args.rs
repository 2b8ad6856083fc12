//! Arguments: each a name and a value.

/// The arguments, in the order given.
pub struct Given {
    rest: std::vec::IntoIter<String>,
    help: &'static str,
}

impl Given {
    /// Those of this process.
    pub fn new(help: &'static str) -> Given {
        Given { rest: std::env::args().skip(1).collect::<Vec<_>>().into_iter(), help }
    }

    /// The first one, if it is one of these words.
    pub fn word(&mut self, words: &[&str]) -> Option<String> {
        let first = self.rest.as_slice().first()?;
        if words.contains(&first.as_str()) { self.rest.next() } else { None }
    }

    /// The next one; prints the help and ends the program if that is asked for.
    pub fn argument(&mut self) -> Result<Option<Argument>, String> {
        let Some(name) = self.rest.next() else { return Ok(None) };
        if name == "--help" || name == "-h" {
            println!("{}", self.help);
            std::process::exit(0);
        }
        match self.rest.next() {
            Some(value) => Ok(Some(Argument { name, value })),
            None => Err(format!("{name} wants a value; see --help")),
        }
    }
}

/// A name and its value.
pub struct Argument {
    pub name: String,
    pub value: String,
}

impl Argument {
    /// As a number.
    pub fn number(&self) -> Result<u64, String> {
        let Argument { name, value } = self;
        value.parse().map_err(|_| format!("{name} wants a number, not {value:?}"))
    }

    /// As a list with commas between.
    pub fn list(&self) -> Vec<String> {
        self.value.split(',').map(str::to_owned).collect()
    }

    /// There is no such argument.
    pub fn unknown(&self) -> String {
        format!("there is no argument {}; see --help", self.name)
    }
}
