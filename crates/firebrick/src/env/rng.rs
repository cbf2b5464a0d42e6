//! A small generator of random numbers for simulation and jitter.

/// xoshiro256\*\*, seeded by splitmix64. Fast, replayable, and not for keys.
///
/// ```
/// use firebrick::env::Rng;
/// let draw = |seed| {
///     let mut rng = Rng::new(seed);
///     [rng.below(100), rng.below(100), rng.below(100)]
/// };
/// assert_eq!(draw(1), draw(1));
/// assert_ne!(draw(1), draw(2));
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// assert_eq!(Rng::new(7).next_u64(), Rng::new(7).next_u64());
    /// ```
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        let mut next = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(seed)
        };
        Self {
            state: [next(), next(), next(), next()],
        }
    }

    /// An independent generator for a named purpose, so that drawing from one doesn't shift another.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let (mut delays, mut order) = (Rng::derive(7, "delays"), Rng::derive(7, "order"));
    /// assert_ne!(delays.next_u64(), order.next_u64());
    /// ```
    #[must_use]
    pub fn derive(seed: u64, purpose: &str) -> Self {
        let mut state = seed;
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte).wrapping_add(0x9e37_79b9_7f4a_7c15));
        }
        Self::new(state)
    }

    /// 64 random bits.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let mut rng = Rng::new(7);
    /// assert_ne!(rng.next_u64(), rng.next_u64());
    /// ```
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= t;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number in `0..bound`, or 0 if `bound` is 0.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let mut dice = Rng::new(7);
    /// assert!((0..100).all(|_| dice.below(6) < 6));
    /// assert_eq!(dice.below(0), 0);
    /// ```
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift: the bias is below 2^-32 for every bound that is used here.
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index into something of `len` elements (0 if it is empty).
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let names = ["ann", "bob", "cy"];
    /// assert!(names.get(Rng::new(7).index(names.len())).is_some());
    /// ```
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True with this probability (0.0 never, 1.0 always). Draws even if the answer is certain, so
    /// that changing one probability doesn't shift all later draws.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let mut rng = Rng::new(7);
    /// assert!(!rng.chance(0.0) && rng.chance(1.0));
    /// let heads = (0..1000).filter(|_| rng.chance(0.5)).count();
    /// assert!((400..600).contains(&heads));
    /// ```
    pub fn chance(&mut self, probability: f64) -> bool {
        #[allow(clippy::cast_precision_loss)]
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    /// Fills `buffer`.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let mut bytes = [0; 20];
    /// Rng::new(7).fill(&mut bytes);
    /// assert_ne!(bytes, [0; 20]);
    /// ```
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// Puts `items` into a random order.
    ///
    /// ```
    /// use firebrick::env::Rng;
    /// let mut cards: Vec<u8> = (0..52).collect();
    /// Rng::new(7).shuffle(&mut cards);
    /// assert!(!cards.is_sorted());
    /// cards.sort_unstable();
    /// assert!(cards.into_iter().eq(0..52)); // none is lost
    /// ```
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// The output function of splitmix64.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_and_spreads() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..1000).map(|_| rng.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for value in 0..10 {
            let count = draw(3).iter().filter(|v| **v == value).count();
            assert!((60..140).contains(&count), "{value} came {count} times");
        }
        let mut rng = Rng::derive(7, "x");
        assert!(!rng.chance(0.0));
        assert!(rng.chance(1.0));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn known_values() {
        // The first outputs of splitmix64 for seed 0 are published, those of xoshiro256** follow.
        let rng = Rng::new(0);
        assert_eq!(rng.state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.state[1], 0x6e78_9e6a_a1b9_65f4);
    }
}
