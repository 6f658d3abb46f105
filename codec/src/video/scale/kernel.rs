//! Resampling kernels: how much a source sample counts at a distance.

use std::f64::consts::PI;

/// The curve that weighs source samples. When a picture shrinks the curve is
/// stretched by the ratio, so every source sample counts.
///
/// The default is the one that the encoded ladder looks best with for its cost;
/// `docs/scaling.md` has the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernel {
    /// The cubic of Catmull and Rom, 2 samples to either side: the softest.
    CatmullRom,
    /// The cubic with a slope of -0.75 at 1, 2 samples to either side: as dear
    /// as Catmull-Rom and crisper.
    Cubic75,
    /// A sine cardinal under the main lobe of one twice as wide, 2 samples to
    /// either side.
    Lanczos2,
    /// A sine cardinal under the main lobe of one three times as wide, 3
    /// samples to either side: half as dear again, and the sharpest.
    #[default]
    Lanczos3,
}

impl Kernel {
    /// All of them, in order of sharpness.
    pub const ALL: [Self; 4] = [
        Self::CatmullRom,
        Self::Lanczos2,
        Self::Cubic75,
        Self::Lanczos3,
    ];

    /// Samples to either side that it reaches, before it is stretched.
    pub(super) fn reach(self) -> f64 {
        match self {
            Self::CatmullRom | Self::Cubic75 | Self::Lanczos2 => 2.0,
            Self::Lanczos3 => 3.0,
        }
    }

    /// The weight at distance `x`, in samples; 1 at 0.
    pub(super) fn at(self, x: f64) -> f64 {
        match self {
            Self::CatmullRom => cubic(-0.5, x),
            Self::Cubic75 => cubic(-0.75, x),
            Self::Lanczos2 => lanczos(2.0, x),
            Self::Lanczos3 => lanczos(3.0, x),
        }
    }
}

/// Keys' interpolating cubic with `slope` at distance 1.
fn cubic(slope: f64, x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((slope + 2.0) * x - (slope + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * slope
    } else {
        0.0
    }
}

fn lanczos(lobes: f64, x: f64) -> f64 {
    if x.abs() < lobes {
        sinc(x) * sinc(x / lobes)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_passes_through_its_samples_and_ends_at_its_reach() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.at(0.0), 1.0);
            for x in 1..5 {
                let x = f64::from(x);
                assert!(kernel.at(x).abs() < 1e-12, "{kernel:?} at {x}");
                assert_eq!(kernel.at(x + 0.3), kernel.at(-x - 0.3));
            }
            assert_eq!(kernel.at(kernel.reach() + 0.01), 0.0);
            assert!(kernel.at(kernel.reach() - 0.3) != 0.0);
        }
    }
}
