//! A graph does what its capture said, again and again, and counts what it moves.

use crate::kernels::{add_one, count_down, is_odd};
use crate::oracle::Dense;
use broadhead_device::{ByteClass, Context, DeviceError, MatrixMut, Refusal, Updated};
use broadhead_testkit::device::{Outcome, Trial, expect, expect_eq, on_device, stream};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device(
            "graphs::a_launch_repeats_the_capture_and_counts_its_bytes",
            repeats,
        ),
        on_device("graphs::a_loop_runs_until_its_condition_fails", loops),
        on_device("graphs::a_loop_holds_library_calls", loop_of_library_calls),
        on_device("graphs::loops_nest", nested),
        on_device(
            "graphs::a_branch_is_taken_where_its_condition_holds",
            branches,
        ),
        on_device("graphs::an_update_replaces_the_arguments", update),
        on_device("graphs::a_graph_keeps_its_buffers", keeps),
        on_device("graphs::what_a_graph_cannot_hold_is_refused", refused),
    ]
}

fn repeats(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(1000, "test")?;
    let mut result = stream.pinned::<f64>(1000, "test")?;
    add_one(&stream, x.view_mut())?;
    let before = stream.ledger().snapshot();
    let mut graph = stream.capture(|stream| {
        add_one(stream, x.view_mut())?;
        add_one(stream, x.view_mut())?;
        stream.download_pinned(x.view(), &mut result, ByteClass::Record)
    })?;
    expect_eq("nodes", graph.nodes()?, 3)?;
    expect_eq("counted by the capture", stream.ledger().snapshot(), before)?;
    let mut found = vec![0.0; 1000];
    for launches in 1..=5u32 {
        graph.launch()?;
        result.read(&mut found)?;
        let wanted = 1.0 + 2.0 * f64::from(launches);
        expect(
            found == vec![wanted; 1000],
            format!("launch {launches}: {}", found[0]),
        )?;
    }
    let account = stream.ledger().snapshot().since(&before);
    expect_eq("submissions", account.submissions, 5)?;
    expect_eq("record bytes down", account.device_to_host.record, 5 * 8000)
}

fn loops(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for count in [1, 2, 1000] {
        let mut left = stream.upload(&[count], ByteClass::Other, "test")?;
        let mut rounds = stream.zeros::<i32>(1, "test")?;
        let mut x = stream.zeros::<f64>(10, "test")?;
        let before = stream.ledger().snapshot();
        let mut graph = stream.capture(|stream| {
            add_one(stream, x.view_mut())?;
            stream.while_loop(|stream, condition| {
                add_one(stream, x.view_mut())?;
                count_down(stream, left.view_mut(), rounds.view_mut(), condition)
            })?;
            add_one(stream, x.view_mut())
        })?;
        graph.launch()?;
        let account = stream.ledger().snapshot().since(&before);
        expect_eq("submissions", account.submissions, 1)?;
        let rounds = stream.download(rounds.view(), ByteClass::Record)?[0];
        expect_eq("rounds", rounds, count)?;
        let x = stream.download(x.view(), ByteClass::Record)?;
        expect_eq(
            "before, body and after",
            x,
            vec![f64::from(count) + 2.0; 10],
        )?;
    }
    Ok(())
}

fn loop_of_library_calls(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let n = 100;
    let a = Dense::positive(n, 1);
    let source = stream.upload(&a.values, ByteClass::Operand, "test")?;
    let mut plain = stream.upload(&a.values, ByteClass::Operand, "test")?;
    let mut looped = stream.zeros::<f64>(n * n, "test")?;
    let mut left = stream.upload(&[3], ByteClass::Other, "test")?;
    let mut rounds = stream.zeros::<i32>(1, "test")?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    let mut matrix = MatrixMut::packed(plain.view_mut(), n, n)?;
    let mut workspace = stream.alloc::<f64>(stream.potrf_workspace(&mut matrix)?, "test")?;
    stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
    let mut graph = stream.capture(|stream| {
        stream.while_loop(|stream, condition| {
            stream.copy(source.view(), looped.view_mut())?;
            let mut matrix = MatrixMut::packed(looped.view_mut(), n, n)?;
            stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
            count_down(stream, left.view_mut(), rounds.view_mut(), condition)
        })
    })?;
    graph.launch()?;
    let rounds = stream.download(rounds.view(), ByteClass::Record)?[0];
    expect_eq("rounds", rounds, 3)?;
    let plain = stream.download(plain.view(), ByteClass::Operand)?;
    let looped = stream.download(looped.view(), ByteClass::Operand)?;
    expect(plain == looped, "the factor inside the loop has other bits")
}

fn nested(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut outer = stream.upload(&[4], ByteClass::Other, "test")?;
    let mut inner = stream.zeros::<i32>(1, "test")?;
    let three = stream.upload(&[3], ByteClass::Other, "test")?;
    let mut outer_rounds = stream.zeros::<i32>(1, "test")?;
    let mut inner_rounds = stream.zeros::<i32>(1, "test")?;
    let mut graph = stream.capture(|stream| {
        stream.while_loop(|stream, again| {
            stream.copy(three.view(), inner.view_mut())?;
            stream.while_loop(|stream, again| {
                count_down(stream, inner.view_mut(), inner_rounds.view_mut(), again)
            })?;
            count_down(stream, outer.view_mut(), outer_rounds.view_mut(), again)
        })
    })?;
    graph.launch()?;
    expect_eq(
        "outer",
        stream.download(outer_rounds.view(), ByteClass::Record)?[0],
        4,
    )?;
    expect_eq(
        "inner",
        stream.download(inner_rounds.view(), ByteClass::Record)?[0],
        12,
    )
}

fn branches(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut left = stream.upload(&[7], ByteClass::Other, "test")?;
    let mut rounds = stream.zeros::<i32>(1, "test")?;
    let mut odd = stream.zeros::<f64>(1, "test")?;
    let mut after = stream.zeros::<f64>(1, "test")?;
    let mut graph = stream.capture(|stream| {
        stream.while_loop(|stream, again| {
            let branch = stream.branch()?;
            is_odd(stream, left.view(), branch)?;
            stream.if_then(branch, |stream| add_one(stream, odd.view_mut()))?;
            add_one(stream, after.view_mut())?;
            count_down(stream, left.view_mut(), rounds.view_mut(), again)
        })
    })?;
    graph.launch()?;
    // 7, 5, 3 and 1 of 7 to 1.
    expect_eq(
        "odd",
        stream.download(odd.view(), ByteClass::Other)?,
        vec![4.0],
    )?;
    expect_eq(
        "all",
        stream.download(after.view(), ByteClass::Other)?,
        vec![7.0],
    )?;
    expect(stream.branch().is_err(), "a branch outside of a capture")
}

fn update(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(10, "test")?;
    let mut y = stream.zeros::<f64>(10, "test")?;
    add_one(&stream, x.view_mut())?;
    let mut graph = stream.capture(|stream| add_one(stream, x.view_mut()))?;
    let updated = graph.update(|stream| add_one(stream, y.view_mut()))?;
    expect_eq("the same nodes", updated, Updated::InPlace)?;
    graph.launch()?;
    let updated = graph.update(|stream| {
        add_one(stream, y.view_mut())?;
        stream.zero(x.view_mut())
    })?;
    expect_eq("other nodes", updated, Updated::Rebuilt)?;
    graph.launch()?;
    expect_eq(
        "x",
        stream.download(x.view(), ByteClass::Other)?,
        vec![0.0; 10],
    )?;
    expect_eq(
        "y",
        stream.download(y.view(), ByteClass::Other)?,
        vec![2.0; 10],
    )
}

fn keeps(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(1000, "test")?;
    let mut out = stream.zeros::<f64>(1000, "test")?;
    let mut graph = stream.capture(|stream| {
        add_one(stream, x.view_mut())?;
        stream.copy(x.view(), out.view_mut())
    })?;
    drop(x);
    expect_eq("held", stream.ledger().held_bytes(), 16_000)?;
    // Memory that was freed would be handed out again here.
    let other = stream.upload(&[7.0; 1000], ByteClass::Other, "test")?;
    graph.launch()?;
    graph.launch()?;
    expect_eq(
        "out",
        stream.download(out.view(), ByteClass::Other)?,
        vec![2.0; 1000],
    )?;
    expect_eq(
        "other",
        stream.download(other.view(), ByteClass::Other)?,
        vec![7.0; 1000],
    )?;
    drop(graph);
    expect_eq(
        "held without the graph",
        stream.ledger().held_bytes(),
        16_000,
    )
}

fn refused(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(10, "test")?;
    let mut pinned = stream.pinned::<f64>(10, "test")?;
    let refused = |what: &str, answer: Result<_, DeviceError>| {
        let is = matches!(answer, Err(DeviceError::Refusal(Refusal::Capturing { .. })));
        expect(is, format!("{what} in a capture was not refused"))
    };
    let class = ByteClass::Other;
    refused(
        "an upload",
        stream.capture(|s| s.upload_into(&[0.0; 10], x.view_mut(), class)),
    )?;
    refused(
        "an allocation",
        stream.capture(|s| s.alloc::<f64>(1, "test").map(drop)),
    )?;
    refused("a wait", stream.capture(|s| s.synchronize()))?;
    refused(
        "a capture",
        stream.capture(|s| s.capture(|_| Ok(())).map(drop)),
    )?;
    refused(
        "a host copy in a loop",
        stream.capture(|s| s.while_loop(|s, _| s.download_pinned(x.view(), &mut pinned, class))),
    )?;
    let outside = stream.while_loop(|_, _| Ok(()));
    expect(outside.is_err(), "a loop outside of a capture")?;
    // The stream works on as if nothing had been tried.
    add_one(&stream, x.view_mut())?;
    expect_eq("x", stream.download(x.view(), class)?, vec![1.0; 10])
}
