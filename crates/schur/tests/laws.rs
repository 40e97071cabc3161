//! Every law, for every elimination on the CPU.

use broadhead_schur::EliminationKind;
use broadhead_testkit::laws::Subject;

broadhead_testkit::instantiate_laws! {
    rows => Subject::cpu(EliminationKind::Rows),
    border => Subject::cpu(EliminationKind::Border),
    core_of_structured => Subject::cpu(EliminationKind::Core),
    iterative => Subject::cpu(EliminationKind::Iterative),
    reference => Subject::cpu(EliminationKind::Reference),
}
