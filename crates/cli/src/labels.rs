//! How a fit places the labels, which it never saw: each label's mean position and resultant length.
//!
//! The rows of a label are averaged in the space of their atom's coordinate: angles as unit vectors in
//! the plane, sphere points as unit vectors in space, Euclidean coordinates as they are. The resultant
//! length is the length of the mean unit vector (for a torus, of both angles' vectors together, over
//! sqrt 2; for a cylinder, of the angle's alone): 1 if all rows of a label share one place, near 0 if they are spread out. A Euclidean
//! coordinate has none. Where the mean vector is only rounding, as for opposite places, it has no
//! direction and the mean position is NaN.

use crate::plot::Groups;
use broadhead_sae::{Dictionary, DictionaryError, RowPlaces, Topology};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Groups rows by label, labels in the order of their first row.
pub fn group(labels: Vec<String>) -> Groups {
    let mut names: Vec<String> = Vec::new();
    let mut known = std::collections::HashMap::new();
    let of_row = labels
        .into_iter()
        .map(|label| {
            *known.entry(label).or_insert_with_key(|label| {
                names.push(label.clone());
                names.len() - 1
            })
        })
        .collect();
    Groups { names, of_row }
}

/// The most labels that are named in a summary for people and in a picture.
pub const NAMED: usize = 40;

/// A warning for labels that are many and hardly ever repeat.
pub fn doubt(groups: &Groups) -> Option<String> {
    let (labels, rows) = (groups.names.len(), groups.of_row.len());
    (labels > NAMED && 2 * labels > rows).then(|| {
        format!(
            "{labels} different labels for {rows} rows: were names of rows given for labels? The \
             picture and the summary name the first {NAMED}, summary.json all of them"
        )
    })
}

/// Where the rows of one label lie.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelStatistics {
    /// Rows with this label.
    pub rows: usize,
    /// One number for each column of the coordinates; NaN (`null`) if the atom is off in every row, or
    /// if the rows have no mean direction.
    pub mean_position: Vec<f64>,
    /// One number for each atom; NaN (`null`) for a Euclidean one.
    pub resultant_length: Vec<f64>,
}

/// Every label with its statistics. In JSON an object keyed by label, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels(pub Vec<(String, LabelStatistics)>);

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, statistics) in &self.0 {
            map.serialize_entry(label, statistics)?;
        }
        map.end()
    }
}

/// Scores the places of rows by `groups`.
///
/// # Errors
/// [`DictionaryError::Length`] if the coordinates do not fit the dictionary.
pub fn statistics(
    groups: &Groups,
    dictionary: &Dictionary,
    places: &RowPlaces,
) -> Result<Labels, DictionaryError> {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.names.len()];
    for (row, &group) in groups.of_row.iter().enumerate() {
        members[group].push(row);
    }
    let labels = groups.names.iter().zip(members).map(|(name, rows)| {
        let mut mean_position = Vec::with_capacity(dictionary.columns());
        let mut resultant_length = Vec::with_capacity(dictionary.len());
        for (index, atom) in dictionary.atoms().iter().enumerate() {
            let on: Vec<Vec<f64>> = rows
                .iter()
                .filter_map(|&row| Some(places.get(row, index)?.coordinates.to_vec()))
                .filter(|place: &Vec<f64>| place.iter().all(|t| t.is_finite()))
                .collect();
            let (mean, length) = mean_of(atom.topology(), &on)?;
            mean_position.extend(mean);
            resultant_length.push(length);
        }
        let statistics = LabelStatistics {
            rows: rows.len(),
            mean_position,
            resultant_length,
        };
        Ok((name.clone(), statistics))
    });
    Ok(Labels(labels.collect::<Result<_, _>>()?))
}

/// The mean of places on `topology`, and its resultant length; NaN where there is none.
fn mean_of(topology: Topology, places: &[Vec<f64>]) -> Result<(Vec<f64>, f64), DictionaryError> {
    let (mean, length) = topology.mean(places)?;
    Ok((mean, length.unwrap_or(f64::NAN)))
}

/// The labels in the order of their mean angles, beginning with the first label and going in the
/// direction of whichever of its two neighbours comes earlier in the list. Only for a dictionary of one
/// circle on which every label has a place.
pub fn circular_order(labels: &Labels, dictionary: &Dictionary) -> Option<Vec<String>> {
    let [atom] = dictionary.atoms() else {
        return None;
    };
    if atom.topology() != Topology::Circle {
        return None;
    }
    let angle = |(_, statistics): &(String, LabelStatistics)| statistics.mean_position[0];
    if labels.0.iter().any(|label| !angle(label).is_finite()) {
        return None;
    }
    let mut order: Vec<_> = labels.0.iter().collect();
    order.sort_by(|a, b| angle(a).total_cmp(&angle(b)));
    let mut names: Vec<String> = order.iter().map(|(name, _)| name.clone()).collect();
    if let Some((first, _)) = labels.0.first()
        && let Some(at) = names.iter().position(|name| name == first)
    {
        names.rotate_left(at);
    }
    // The direction of a fitted circle is an accident: take the one in which the second label comes
    // first.
    let rank = |name: &String| labels.0.iter().position(|(label, _)| label == name);
    if let [_, next, .., last] = &names[..]
        && rank(last) < rank(next)
    {
        names[1..].reverse();
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_sae::Basis;
    use ndarray::Array2;
    use std::f64::consts::{PI, TAU};

    #[test]
    fn labels_keep_the_order_of_their_first_rows() {
        let groups = group(["b", "a", "b", "c"].map(str::to_owned).to_vec());
        assert_eq!(groups.names, ["b", "a", "c"]);
        assert_eq!(groups.of_row, [0, 1, 0, 2]);
    }

    #[test]
    fn many_labels_that_hardly_repeat_are_doubtful() {
        let of = |labels: usize, rows: usize| {
            group((0..rows).map(|row| (row % labels).to_string()).collect())
        };
        assert!(
            doubt(&of(1000, 1000))
                .unwrap()
                .contains("1000 different labels for 1000 rows")
        );
        assert!(doubt(&of(60, 100)).is_some());
        assert_eq!(doubt(&of(60, 120)), None);
        assert_eq!(doubt(&of(40, 40)), None);
    }

    #[test]
    fn angles_are_averaged_across_the_seam() {
        let (mean, length) = mean_of(Topology::Circle, &[vec![PI - 0.1], vec![-PI + 0.1]]).unwrap();
        assert!((mean[0].abs() - PI).abs() < 1e-12, "{mean:?}");
        assert!((length - 0.1f64.cos()).abs() < 1e-12);
        let (_, spread) = mean_of(Topology::Circle, &[vec![0.0], vec![PI]]).unwrap();
        assert!(spread < 1e-12);
    }

    #[test]
    fn places_that_cancel_have_no_mean_position() {
        let (mean, _) = mean_of(Topology::Circle, &[vec![0.5], vec![0.5 - PI]]).unwrap();
        assert!(mean[0].is_nan(), "{mean:?}");
        let thirds = [0.1, 0.1 + TAU / 3.0, 0.1 - TAU / 3.0];
        let (mean, _) = mean_of(Topology::Torus, &thirds.map(|t| vec![t, 1.0])).unwrap();
        assert!(
            mean[0].is_nan() && (mean[1] - 1.0).abs() < 1e-15,
            "{mean:?}"
        );
        let poles = [vec![0.6, 0.0, 0.8], vec![-0.6, 0.0, -0.8]];
        let (mean, length) = mean_of(Topology::Sphere, &poles).unwrap();
        assert!(mean.iter().all(|v| v.is_nan()) && length == 0.0, "{mean:?}");
        let (mean, length) = mean_of(Topology::Sphere, &poles[..1]).unwrap();
        assert!((mean[2] - 0.8).abs() < 1e-15 && (length - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_circle_names_its_labels_in_order_from_the_first() {
        let dictionary =
            Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
        let groups = group(["x", "y", "z"].map(str::to_owned).to_vec());
        let scored = |angles: [f64; 3]| {
            let angles = Array2::from_shape_vec((3, 1), angles.to_vec()).unwrap();
            let gates = Array2::ones((3, 1));
            let places = RowPlaces::from_arrays(&dictionary, angles.view(), gates.view()).unwrap();
            statistics(&groups, &dictionary, &places).unwrap()
        };
        let labels = scored([2.0, -3.0, -1.0]);
        let order = circular_order(&labels, &dictionary).unwrap();
        assert_eq!(order, ["x", "y", "z"]);
        // The opposite direction gives the same order.
        let labels = scored([-2.0, 3.0, 1.0]);
        assert_eq!(circular_order(&labels, &dictionary).unwrap(), order);
        let labels = scored([2.0, f64::NAN, 1.0]);
        assert_eq!(circular_order(&labels, &dictionary), None);
        let json = serde_json::to_value(&labels).unwrap();
        assert!(json["y"]["mean_position"][0].is_null());
    }
}
