//! Colours of groups and of cyclic coordinates.
//!
//! Up to seven groups take colours of Okabe and Ito ("Color Universal Design", 2008), which people
//! with the common colour-blindnesses tell apart (their yellow, weak on white, is left out). More
//! groups, and angles, run round the hue circle of OKLCH (Ottosson 2020), where equal steps look
//! equal; neighbouring groups alternate in lightness.

use std::f64::consts::TAU;

/// A colour in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

const OKABE_ITO: [Rgb; 7] = [
    Rgb(0x00, 0x72, 0xb2),
    Rgb(0xe6, 0x9f, 0x00),
    Rgb(0x00, 0x9e, 0x73),
    Rgb(0xd5, 0x5e, 0x00),
    Rgb(0x56, 0xb4, 0xe9),
    Rgb(0xcc, 0x79, 0xa7),
    Rgb(0x4d, 0x4d, 0x4d),
];

/// The colour of group `index` of `count`.
pub(super) fn group(index: usize, count: usize) -> Rgb {
    if count <= OKABE_ITO.len() {
        return OKABE_ITO[index % OKABE_ITO.len()];
    }
    let lightness = if index.is_multiple_of(2) { 0.56 } else { 0.74 };
    oklch(lightness, 0.125, TAU * index as f64 / count as f64)
}

/// The colour of an angle in radians, of one lightness and without a seam.
pub(super) fn cyclic(angle: f64) -> Rgb {
    oklch(0.68, 0.125, angle)
}

/// The colour of a number in [0, 1], light to dark.
pub(super) fn sequential(fraction: f64) -> Rgb {
    let fraction = fraction.clamp(0.0, 1.0);
    oklch(
        0.82 - 0.47 * fraction,
        0.06 + 0.06 * fraction,
        3.2 + 1.3 * fraction,
    )
}

/// OKLCH to sRGB, clipped to its gamut. Lightness in [0, 1], hue in radians.
fn oklch(lightness: f64, chroma: f64, hue: f64) -> Rgb {
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let encode = |linear: f64| {
        let value = if linear <= 0.003_130_8 {
            12.92 * linear
        } else {
            1.055 * linear.powf(1.0 / 2.4) - 0.055
        };
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    Rgb(
        encode(4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s),
        encode(-1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s),
        encode(-0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_has_no_hue() {
        let Rgb(r, g, b) = oklch(0.5, 0.0, 1.0);
        assert!(r == g && g == b, "{r} {g} {b}");
        assert_eq!(oklch(1.0, 0.0, 0.0), Rgb(255, 255, 255));
        assert_eq!(oklch(0.0, 0.0, 0.0), Rgb(0, 0, 0));
    }

    #[test]
    fn groups_differ_from_each_other() {
        for count in [1, 2, 7, 8, 12, 24] {
            let colors: Vec<Rgb> = (0..count).map(|index| group(index, count)).collect();
            for (i, a) in colors.iter().enumerate() {
                assert!(colors[i + 1..].iter().all(|b| a != b), "{count}: {i}");
            }
        }
    }

    #[test]
    fn an_angle_and_its_turn_have_one_colour() {
        assert_eq!(cyclic(-1.0), cyclic(-1.0 + TAU));
    }
}
