//! The atoms that a fit is asked for, and the model that it goes on from.

use crate::args::FitArgs;
use crate::error::CliError;
use crate::input::{Extents, InputError, Named};
use crate::words::AtomsWord;
use crate::{memory, message, model};
use broadhead_sae::{Amplitudes, Basis, Dictionary, Model, Topology};
use std::path::Path;

/// The atoms that the arguments name, or those of the model of `--start`, which comes with them.
pub(super) fn atoms(arguments: &FitArgs) -> Result<(Dictionary, Option<Named<Model>>), CliError> {
    if let Some(AtomsWord::Listed(_)) = arguments.atoms
        && (arguments.topology.is_some() || arguments.basis.is_some())
    {
        return Err(CliError::Usage(
            "--topology and --basis are for atoms that are alike: expected --atoms with a number, \
             or neither of them"
                .to_owned(),
        ));
    }
    if let Some(path) = &arguments.start {
        let model = model::read(path)?;
        expect_agreement(arguments, path, model.array.dictionary())?;
        let model = match arguments.amplitudes {
            Some(word) => Named {
                array: model.array.with_amplitudes(word.into()),
                ..model
            },
            None => model,
        };
        return Ok((model.array.dictionary().clone(), Some(model)));
    }
    let amplitudes = arguments.amplitudes.map_or(Amplitudes::One, Into::into);
    let kept = |dictionary: Dictionary| {
        let dictionary = dictionary.with_amplitudes(amplitudes);
        if dictionary.amplitudes() != amplitudes {
            message::say(format_args!(
                "warning: --amplitudes {amplitudes}: Euclidean atoms keep amplitude 1, and there are no others"
            ));
        }
        dictionary
    };
    let count = match &arguments.atoms {
        None => 1,
        Some(AtomsWord::Alike(count)) => *count,
        Some(AtomsWord::Listed(dictionary)) => {
            return Ok((kept(dictionary.clone()), None));
        }
    };
    let topology = arguments.topology.unwrap_or(Topology::Circle);
    let basis = arguments.basis.unwrap_or(Basis::default_for(topology));
    let bytes = (count as u64).saturating_mul(256);
    memory::require(&format!("a dictionary of {count} atoms"), bytes)?;
    match Dictionary::uniform(count, topology, basis) {
        Ok(dictionary) => Ok((kept(dictionary), None)),
        Err(error) => Err(CliError::Usage(error.to_string())),
    }
}

/// Refuses words for atoms that are not those of the model beside them.
fn expect_agreement(
    arguments: &FitArgs,
    path: &Path,
    dictionary: &Dictionary,
) -> Result<(), CliError> {
    let atoms = dictionary.atoms();
    let wrong = match (&arguments.atoms, arguments.topology, arguments.basis) {
        (Some(AtomsWord::Alike(count)), ..) if *count != atoms.len() => format!("--atoms {count}"),
        (Some(AtomsWord::Listed(listed)), ..)
            if listed.clone().with_amplitudes(dictionary.amplitudes()) != *dictionary =>
        {
            format!("--atoms {listed}")
        }
        (_, Some(topology), _) if atoms.iter().any(|atom| atom.topology() != topology) => {
            format!("--topology {topology}")
        }
        (.., Some(basis)) if atoms.iter().any(|atom| atom.basis() != basis) => {
            format!("--basis {basis}")
        }
        _ => return Ok(()),
    };
    Err(CliError::Usage(format!(
        "{wrong} and --start {} do not agree: the model's atoms are {dictionary}",
        message::path(path)
    )))
}

/// Refuses rows of other columns than the model's.
pub(super) fn expect_columns(
    model: &Named<Model>,
    rows: &str,
    [n, p]: [usize; 2],
) -> Result<(), InputError> {
    let columns = model.array.decoder().ncols();
    if p == columns {
        return Ok(());
    }
    Err(InputError::Shape {
        array: rows.to_owned(),
        found: Extents(vec![n, p]),
        expected: Extents(vec![n, columns]),
        because: format!("the columns of {}", model.name),
    })
}
