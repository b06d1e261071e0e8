use super::{Decision, MachineError, State, Status, UNDO_ATTEMPTS, VERIFY_ATTEMPTS};
use crate::swap::{
    plan::example as plan,
    record::{Action, Ending, Facts, Outcome, Record, VERSION, Verdict},
    server::Effect,
    step::Step,
};

fn intent(action: Action, step: Step) -> Record {
    Record::Intent { action, step, emergency: Vec::new(), announces: Vec::new() }
}

fn outcome(action: Action, step: Step, outcome: Outcome) -> Record {
    Record::Outcome { action, step, outcome, took_us: 1 }
}

fn done() -> Outcome {
    Outcome::Done { facts: Facts::default() }
}

fn failed() -> Outcome {
    Outcome::Failed { effect: Effect::Unknown, message: "no".to_owned() }
}

/// Answers every decision until the machine closes; `answer` says what comes of an action.
fn drive(
    state: &mut State,
    mut answer: impl FnMut(Action, Step) -> Outcome,
) -> (Ending, Vec<(Action, Step)>) {
    let mut acts = Vec::new();
    for seq in 1.. {
        match state.decide() {
            Decision::Act(action, step) => {
                acts.push((action, step));
                let answer = answer(action, step);
                state.apply(seq, &intent(action, step)).expect("an intent");
                state.apply(seq, &outcome(action, step, answer)).expect("an outcome");
            }
            Decision::Close(ending) => return (ending, acts),
            Decision::Stop(_) => panic!("closed by itself"),
        }
        assert!(acts.len() < 200, "no end: {acts:?}");
    }
    unreachable!("the loop returns")
}

fn verified(verdict: Verdict) -> Outcome {
    Outcome::Verified { verdict, message: "seen".to_owned() }
}

#[test]
fn f42_without_trouble_every_step_is_done_once_in_order() {
    let (ending, acts) = drive(&mut State::new(plan()), |_, _| done());
    assert_eq!(ending, Ending::Swapped);
    assert_eq!(acts, Step::ALL.map(|step| (Action::Perform, step)));
}

#[test]
fn a_failure_before_the_commit_point_is_undone_in_reverse_the_failed_step_too() {
    for broken in Step::ALL.into_iter().filter(|step| *step < Step::COMMIT) {
        let mut state = State::new(plan());
        let (ending, acts) = drive(&mut state, |action, step| {
            if action == Action::Perform && step == broken { failed() } else { done() }
        });
        assert_eq!(ending, Ending::RolledBack, "{broken}");
        assert_eq!(state.stumbled_at(), Some(broken));
        let undone: Vec<Step> =
            acts.iter().filter(|(a, _)| *a == Action::Undo).map(|(_, step)| *step).collect();
        let expected: Vec<Step> =
            Step::ALL.into_iter().rev().filter(|step| *step <= broken && step.has_undo()).collect();
        assert_eq!(undone, expected, "{broken}");
        assert!(acts.iter().all(|(_, step)| *step < Step::COMMIT));
    }
}

#[test]
fn an_undo_that_fails_is_tried_again_and_the_others_are_still_done() {
    for (step, times, expected) in [
        (Step::Fence, UNDO_ATTEMPTS, Ending::NeedsOperator),
        (Step::Fence, UNDO_ATTEMPTS - 1, Ending::RolledBack),
        (Step::Hold, UNDO_ATTEMPTS, Ending::NeedsOperator),
    ] {
        let mut failures = 0;
        let (ending, acts) = drive(&mut State::new(plan()), |action, at| match (action, at) {
            (Action::Perform, Step::CatchUp) => failed(),
            (Action::Undo, at) if at == step && failures < times => {
                failures += 1;
                failed()
            }
            _ => done(),
        });
        assert_eq!(ending, expected, "{step} failing {times} times");
        assert!(acts.contains(&(Action::Undo, Step::Hold)), "users stay held");
        assert!(acts.contains(&(Action::Undo, Step::Lock)));
    }
}

#[test]
fn at_the_commit_point_the_verification_decides() {
    let with = |verdict| {
        drive(&mut State::new(plan()), |action, step| match (action, step) {
            (Action::Perform, Step::Promote) => failed(),
            (Action::Verify, _) => verified(verdict),
            _ => done(),
        })
    };
    let (ending, acts) = with(Verdict::TookEffect);
    assert_eq!(ending, Ending::Swapped);
    assert!(acts.contains(&(Action::Perform, Step::Prove)));
    let (ending, acts) = with(Verdict::DidNot);
    assert_eq!(ending, Ending::RolledBack);
    assert!(acts.contains(&(Action::Undo, Step::Fence)));
    let (ending, acts) = with(Verdict::CannotTell);
    assert_eq!(ending, Ending::NeedsOperator);
    let verifies = acts.iter().filter(|(action, _)| *action == Action::Verify).count();
    assert_eq!(verifies, usize::try_from(VERIFY_ATTEMPTS).expect("small"));
    assert!(!acts.contains(&(Action::Undo, Step::Fence)), "two writers are possible");
    let undone: Vec<_> = acts.iter().filter(|(action, _)| *action == Action::Undo).collect();
    let expected = [(Action::Undo, Step::Withdraw), (Action::Undo, Step::Hold)];
    assert_eq!(undone, expected.each_ref(), "users find nobody, or stay held");
}

#[test]
fn behind_the_commit_point_there_is_only_forward() {
    for broken in Step::ALL.into_iter().filter(|step| *step > Step::COMMIT) {
        let (ending, acts) =
            drive(
                &mut State::new(plan()),
                |_, step| {
                    if step == broken { failed() } else { done() }
                },
            );
        assert_eq!(ending, Ending::NeedsOperator, "{broken}");
        assert!(acts.iter().all(|(action, _)| *action == Action::Perform), "{broken}");
        assert!(acts.contains(&(Action::Perform, Step::Release)), "{broken}: users stay held");
        assert!(acts.contains(&(Action::Perform, Step::Unlock)), "{broken}");
    }
    let mut state = State::new(plan());
    let mut first = true;
    let (ending, _) = drive(&mut state, |_, step| {
        if step == Step::Endpoint && std::mem::take(&mut first) { failed() } else { done() }
    });
    assert_eq!(ending, Ending::Swapped, "one failure behind the commit point is retried");
}

#[test]
fn f13_what_users_wait_for_is_tried_once_and_again_by_a_recovery() {
    for broken in Step::ALL.into_iter().filter(|step| step.tries_by_itself()) {
        let mut state = State::new(plan());
        let fails = |_, step| if step == broken { failed() } else { done() };
        let (ending, acts) = drive(&mut state, fails);
        assert_eq!(ending, Ending::NeedsOperator, "{broken}");
        let tries = |acts: &[(Action, Step)]| acts.iter().filter(|(_, s)| *s == broken).count();
        assert_eq!(tries(&acts), 1, "{broken}: users wait again");
        assert!(acts.contains(&(Action::Perform, Step::Release)), "{broken}: users stay held");
        for (again, expected) in [(true, Ending::NeedsOperator), (false, Ending::Swapped)] {
            let closed = Record::Closed { ending, reason: None, users: None };
            state.apply(1, &closed).expect("closes");
            state.apply(2, &Record::Resumed { reason: "again".to_owned() }).expect("resumes");
            let (ending, acts) =
                drive(
                    &mut state,
                    |_, step| {
                        if again && step == broken { failed() } else { done() }
                    },
                );
            assert_eq!((ending, tries(&acts)), (expected, 1), "{broken}");
        }
    }
}

#[test]
fn f16_an_interrupted_swap_goes_back_before_the_commit_point_and_on_after_it() {
    for stop in Step::ALL {
        let mut state = State::new(plan());
        for step in Step::ALL.into_iter().take_while(|step| *step <= stop) {
            state.apply(1, &intent(Action::Perform, step)).expect("an intent");
            state.apply(2, &outcome(Action::Perform, step, done())).expect("an outcome");
        }
        let reason = "killed".to_owned();
        state.apply(3, &Record::Resumed { reason }).expect("resumes");
        let (ending, acts) = drive(&mut state, |_, _| done());
        if stop < Step::COMMIT {
            assert_eq!(ending, Ending::RolledBack, "{stop}");
            assert!(acts.iter().all(|(action, _)| *action == Action::Undo), "{stop}: {acts:?}");
        } else {
            assert_eq!(ending, Ending::Swapped, "{stop}");
        }
    }
}

#[test]
fn an_intent_without_an_outcome_at_the_commit_point_is_verified() {
    let mut state = State::new(plan());
    for step in Step::ALL.into_iter().take_while(|step| *step < Step::COMMIT) {
        state.apply(1, &intent(Action::Perform, step)).expect("an intent");
        state.apply(2, &outcome(Action::Perform, step, done())).expect("an outcome");
    }
    state.apply(3, &intent(Action::Perform, Step::Promote)).expect("an intent");
    assert_eq!(state.status(Step::Promote), Status::Started);
    state.apply(4, &Record::Resumed { reason: "killed".to_owned() }).expect("resumes");
    assert_eq!(state.decide(), Decision::Act(Action::Verify, Step::Promote));
    assert!(state.promote_was_tried());
}

#[test]
fn what_needs_an_operator_can_be_resumed_and_nothing_else() {
    for (ending, may) in
        [(Ending::NeedsOperator, true), (Ending::Swapped, false), (Ending::RolledBack, false)]
    {
        let mut state = State::new(plan());
        let closed = Record::Closed { ending, reason: None, users: None };
        state.apply(1, &closed).expect("closes");
        assert_eq!(state.decide(), Decision::Stop(ending));
        let resumed = state.apply(2, &Record::Resumed { reason: "again".to_owned() });
        assert_eq!(resumed.is_ok(), may, "{ending:?}");
    }
}

#[test]
fn a_resumed_swap_tries_again_to_undo_what_could_not_be_undone() {
    for broken in [Step::Lock, Step::Hold, Step::Fence] {
        let mut state = State::new(plan());
        let (ending, _) = drive(&mut state, |action, step| match (action, step) {
            (Action::Perform, Step::Barrier) => failed(),
            (Action::Undo, step) if step == broken => failed(),
            _ => done(),
        });
        assert_eq!(ending, Ending::NeedsOperator, "{broken}");
        let closed = Record::Closed { ending, reason: None, users: None };
        state.apply(1, &closed).expect("closes");
        state.apply(2, &Record::Resumed { reason: "again".to_owned() }).expect("resumes");
        let (ending, acts) = drive(&mut state, |_, _| done());
        assert_eq!(ending, Ending::RolledBack, "{broken}");
        assert_eq!(acts, [(Action::Undo, broken)]);
    }
}

#[test]
fn illegal_journals_are_refused() {
    assert_eq!(State::fold([]).expect_err("empty"), MachineError::Empty);
    let opened = || Record::Opened { version: VERSION, plan: Box::new(plan()) };
    let future = Record::Opened { version: VERSION + 1, plan: Box::new(plan()) };
    assert_eq!(
        State::fold([&future]).expect_err("newer"),
        MachineError::Version { found: VERSION + 1 }
    );
    assert_eq!(
        State::fold([&intent(Action::Perform, Step::Lock)]).expect_err("not opened"),
        MachineError::NotOpened
    );
    for second in [
        opened(),
        intent(Action::Verify, Step::Lock),
        outcome(Action::Verify, Step::Promote, done()),
        outcome(Action::Perform, Step::Promote, verified(Verdict::DidNot)),
    ] {
        assert!(State::fold([&opened(), &second]).is_err(), "{second:?}");
    }
    let closed = Record::Closed { ending: Ending::Swapped, reason: None, users: None };
    let after = State::fold([&opened(), &closed, &intent(Action::Perform, Step::Lock)]);
    assert!(after.is_err());
}
