//! Random numbers of a seed: the same seed makes the same run.

/// See the module.
#[derive(Clone)]
pub struct Dice {
    state: u64,
    given: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
        Dice { state, given: 0 }
    }

    pub fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.any() % n
    }

    /// One of `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// A number that was not given before.
    pub fn once(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// The last of those.
    pub fn given(&self) -> u64 {
        self.given
    }
}
