//! Explained variance against seconds, and the time to equal explained variance.
//!
//! What a side could have handed over at time `t` is the best that it had reached by then, so a curve
//! never falls: of the points that are given, those are kept that rise above all earlier ones.

use serde::{Deserialize, Serialize};

/// Explained variance by seconds, both rising.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct Curve(Vec<(f64, f64)>);

/// A point that no fit can have reached.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("an explained variance of {explained} after {seconds} s")]
pub struct BadPoint {
    seconds: f64,
    explained: f64,
}

impl Curve {
    /// Of points in any order.
    ///
    /// # Errors
    /// [`BadPoint`]: seconds that are no time, or an explained variance above 1 or that is no number.
    pub fn of(points: &[(f64, f64)]) -> Result<Self, BadPoint> {
        let mut sorted = points.to_vec();
        for &(seconds, explained) in points {
            let right =
                seconds.is_finite() && seconds >= 0.0 && explained.is_finite() && explained <= 1.0;
            if !right {
                return Err(BadPoint { seconds, explained });
            }
        }
        // The better of two at one time comes first, so that the other is not kept.
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut rising: Vec<(f64, f64)> = Vec::new();
        for point in sorted {
            if rising.last().is_none_or(|last| point.1 > last.1) {
                rising.push(point);
            }
        }
        Ok(Self(rising))
    }

    /// The points of both.
    pub fn with(&self, other: &Self) -> Self {
        let all: Vec<(f64, f64)> = self.0.iter().chain(&other.0).copied().collect();
        // Points of curves are right.
        Self::of(&all).unwrap_or_default()
    }

    /// The earliest time at which it has this explained variance; absent where it never has.
    pub fn reaches(&self, level: f64) -> Option<f64> {
        let point = self.0.iter().find(|(_, explained)| *explained >= level);
        point.map(|(seconds, _)| *seconds)
    }

    /// What it has by this time; absent before its first point.
    pub fn at(&self, seconds: f64) -> Option<f64> {
        let before = self.0.iter().rev().find(|(time, _)| *time <= seconds);
        before.map(|(_, explained)| *explained)
    }

    /// The best, and when it was reached first.
    pub fn best(&self) -> Option<(f64, f64)> {
        self.0.last().copied()
    }

    /// The same with every time to the microsecond and without rises below `least`: for a record. The
    /// first point and the best stay.
    pub fn thinned(&self, least: f64) -> Self {
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for (index, &(seconds, explained)) in self.0.iter().enumerate() {
            let rose = kept.last().is_none_or(|last| explained >= last.1 + least);
            if rose || index + 1 == self.0.len() {
                kept.push((1e-6 * (1e6 * seconds).round(), explained));
            }
        }
        // Two times may have become one.
        Self::of(&kept).unwrap_or_default()
    }
}

impl TryFrom<Vec<(f64, f64)>> for Curve {
    type Error = String;

    fn try_from(points: Vec<(f64, f64)>) -> Result<Self, String> {
        let curve = Self::of(&points).map_err(|e| e.to_string())?;
        match curve.0 == points {
            true => Ok(curve),
            false => Err("points of a curve that does not rise".to_owned()),
        }
    }
}

impl From<Curve> for Vec<(f64, f64)> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

/// The median over seeds of a time that some never reached: absent where half or more did not, or where
/// there is no seed.
pub fn median_time(times: &[Option<f64>]) -> Option<f64> {
    let mut sorted: Vec<f64> = times.iter().map(|t| t.unwrap_or(f64::INFINITY)).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().checked_sub(1)? / 2;
    let upper = sorted.len() / 2;
    Some(0.5 * (sorted[middle] + sorted[upper])).filter(|median| median.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_a_level_is_that_of_the_first_point_there() {
        let curve =
            Curve::of(&[(3.0, 0.4), (1.0, 0.1), (2.0, 0.3), (2.5, 0.2), (4.0, 0.4)]).unwrap();
        assert_eq!(curve.reaches(0.1), Some(1.0));
        assert_eq!(curve.reaches(0.25), Some(2.0));
        assert_eq!(curve.reaches(0.4), Some(3.0));
        assert_eq!(curve.reaches(0.41), None);
        assert_eq!(curve.at(0.5), None);
        // What was better before stays.
        assert_eq!(curve.at(2.7), Some(0.3));
        assert_eq!(curve.best(), Some((3.0, 0.4)));
        assert_eq!(Curve::of(&[]).unwrap().reaches(0.0), None);
        assert_eq!(Curve::of(&[]).unwrap().best(), None);
    }

    #[test]
    fn of_two_points_at_one_time_the_better_counts() {
        let curve = Curve::of(&[(1.0, 0.1), (1.0, 0.3)]).unwrap();
        assert_eq!(curve.at(1.0), Some(0.3));
        assert_eq!(curve.reaches(0.1), Some(1.0));
        let both = curve.with(&Curve::of(&[(0.5, 0.2), (2.0, 0.25)]).unwrap());
        assert_eq!((both.at(0.5), both.at(2.0)), (Some(0.2), Some(0.3)));
    }

    #[test]
    fn points_that_no_fit_reaches_are_refused() {
        for point in [
            (f64::NAN, 0.1),
            (-1.0, 0.1),
            (f64::INFINITY, 0.1),
            (1.0, f64::NAN),
            (1.0, 1.5),
            (1.0, f64::NEG_INFINITY),
        ] {
            assert!(Curve::of(&[(0.0, 0.0), point]).is_err(), "{point:?}");
        }
        // An edited record.
        let read = |text: &str| serde_json::from_str::<Curve>(text);
        assert!(read("[[1.0,0.1],[2.0,0.2]]").is_ok());
        assert!(read("[[1.0,0.1],[2.0,0.1]]").is_err());
        assert!(read("[[2.0,0.1],[1.0,0.2]]").is_err());
        assert!(read("[[1.0,1.1]]").is_err());
    }

    #[test]
    fn thinning_keeps_the_first_and_the_best() {
        let curve = Curve::of(&[(0.1, 0.1), (0.2, 0.1001), (0.3, 0.2), (0.4, 0.2001)]).unwrap();
        let thin = curve.thinned(0.01);
        assert_eq!(thin.0.len(), 3);
        assert_eq!(thin.best().unwrap().1, 0.2001);
        assert_eq!(thin.reaches(0.2).unwrap(), 0.3);
    }

    #[test]
    fn a_seed_that_never_got_there_counts_as_later_than_all() {
        assert_eq!(median_time(&[Some(1.0), None, Some(3.0)]), Some(3.0));
        assert_eq!(median_time(&[Some(1.0), None, None]), None);
        assert_eq!(median_time(&[Some(1.0), Some(2.0)]), Some(1.5));
        assert_eq!(median_time(&[Some(1.0), None]), None);
        assert_eq!(median_time(&[]), None);
    }
}
