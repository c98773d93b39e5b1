use candle_core::Device;

use super::*;
use crate::golden::Golden;

fn loaded(name: &str) -> (Golden, Llama) {
    let golden = Golden::open(name);
    let model = Llama::load(golden.folder(), &Device::Cpu).unwrap();
    (golden, model)
}

fn request(model: &Llama, prompt: &[u32], sampling: Sampling, seed: u64) -> Request {
    Request {
        prompt: model.embed(prompt).unwrap(),
        sequence: Sequence::new(model.config()),
        sampling,
        noise: Noise::new(seed),
        max_new_tokens: 20,
        stop: Vec::new(),
    }
}

fn warm() -> Sampling {
    Sampling { temperature: 1.0, top_k: 30, top_p: 0.95 }
}

#[test]
fn greedy_decoding_is_the_references() {
    for name in ["llama", "llama-tied", "llama-f16", "llama-3"] {
        let (golden, model) = loaded(name);
        let prompt = golden.case("ids").get(0).unwrap().narrow(0, 0, 6).unwrap().to_vec1::<u32>().unwrap();
        let replies = model.generate(vec![request(&model, &prompt, Sampling::default(), 0)]).unwrap();
        assert_eq!(vec![replies[0].ids.clone()], golden.case("greedy").to_vec2::<u32>().unwrap(), "{name}");
        assert_eq!((replies[0].finish, replies[0].sequence.len(), replies[0].unread.len()), (Finish::Length, 25, 1));
    }
}

#[test]
fn a_reply_does_not_depend_on_its_batch() {
    let (_, model) = loaded("llama");
    let prompts: [&[u32]; 5] = [&[1, 2, 3], &[7], &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11], &[1, 2, 3], &[30; 19]];
    let requests = || prompts.iter().enumerate().map(|(row, ids)| request(&model, ids, warm(), row as u64));
    let together = model.generate(requests().collect()).unwrap();
    for (request, expected) in requests().zip(&together) {
        let alone = model.generate(vec![request]).unwrap();
        assert_eq!((&alone[0].ids, alone[0].finish), (&expected.ids, expected.finish));
    }
    let backwards = model.generate(requests().rev().collect()).unwrap();
    assert!(backwards.iter().rev().zip(&together).all(|(left, right)| left.ids == right.ids));
    // The same prompt under another seed is another reply, and under the same seed the same.
    assert_ne!(together[0].ids, together[3].ids);
}

#[test]
fn a_shared_beginning_changes_nothing() {
    let (_, model) = loaded("llama-tied");
    let mut beginning = [Sequence::new(model.config())];
    model.extend(&mut beginning, &[model.embed(&[5, 6, 7, 8]).unwrap()]).unwrap();
    beginning[0].freeze();
    for (seed, end) in [(1, &[9, 10][..]), (2, &[11])] {
        let whole = request(&model, &[&[5, 6, 7, 8], end].concat(), warm(), seed);
        let rest = Request { sequence: beginning[0].clone(), ..request(&model, end, warm(), seed) };
        let replies = model.generate(vec![whole, rest]).unwrap();
        assert_eq!(replies[0].ids, replies[1].ids);
    }
}

#[test]
fn a_reply_goes_on_where_it_ended() {
    let (_, model) = loaded("llama");
    let whole = model.generate(vec![request(&model, &[3, 4], Sampling::default(), 0)]).unwrap();
    let begun = Request { max_new_tokens: 7, ..request(&model, &[3, 4], Sampling::default(), 0) };
    let begun = model.generate(vec![begun]).unwrap().remove(0);
    assert_eq!(begun.ids, whole[0].ids[..7]);
    let rest = Request {
        sequence: begun.sequence,
        max_new_tokens: 13,
        ..request(&model, &begun.unread, Sampling::default(), 0)
    };
    assert_eq!(model.generate(vec![rest]).unwrap()[0].ids, whole[0].ids[7..]);
}

#[test]
fn replies_end() {
    let (_, model) = loaded("llama");
    let whole = model.generate(vec![request(&model, &[3, 4], Sampling::default(), 0)]).unwrap().remove(0);
    let last = whole.ids[9];
    let first = whole.ids.iter().position(|id| *id == last).unwrap();
    let stopped = Request { stop: vec![last], ..request(&model, &[3, 4], Sampling::default(), 0) };
    let stopped = model.generate(vec![stopped]).unwrap().remove(0);
    assert_eq!((stopped.finish, stopped.ids.as_slice()), (Finish::Stop(last), &whole.ids[..first]));
    assert_eq!((stopped.sequence.len(), stopped.unread.len()), (2 + first, 0));
    let endless = Request { max_new_tokens: 1000, ..request(&model, &[3, 4], Sampling::default(), 0) };
    let endless = model.generate(vec![endless]).unwrap().remove(0);
    assert_eq!((endless.finish, endless.ids.len(), endless.sequence.len()), (Finish::Positions, 39, 40));
    let none = Request { max_new_tokens: 0, ..request(&model, &[3, 4], Sampling::default(), 0) };
    let none = model.generate(vec![none]).unwrap().remove(0);
    assert_eq!((none.finish, none.ids.len(), none.unread.len()), (Finish::Length, 0, 0));
    assert!(model.generate(Vec::new()).unwrap().is_empty());
}

#[test]
fn one_who_constrains_has_a_say_in_every_token() {
    let (_, model) = loaded("llama");
    let requests = || (0..3).map(|row| request(&model, &[3, 4], warm(), row)).collect::<Vec<_>>();
    let replies = model.generate_constrained(requests(), &mut |row, written, logits| {
        if row == 1 && written.len() == 3 {
            return Ok(Next::End);
        }
        let is_allowed = |id: usize| row != 2 && (20..30).contains(&id) || written.len() < 2 && id == 50;
        logits
            .iter_mut()
            .enumerate()
            .filter(|(id, _)| !is_allowed(*id))
            .for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        Ok(Next::Choose)
    });
    let replies = replies.unwrap();
    assert_eq!(replies[0].ids.len(), 20);
    assert!(replies[0].ids.iter().all(|id| (20..30).contains(id) || *id == 50));
    assert_eq!((replies[1].finish, replies[1].ids.len()), (Finish::Ended, 3));
    assert_eq!((replies[2].finish, replies[2].ids.as_slice()), (Finish::NoToken, &[50, 50][..]));
    let fails = model.generate_constrained(requests(), &mut |_, _, _| Err(crate::EngineError::argument("no")));
    assert_eq!(fails.unwrap_err().to_string(), "no");
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let (_, model) = loaded("llama");
    let hot = Request { sampling: Sampling { temperature: -1.0, ..warm() }, ..request(&model, &[1], warm(), 0) };
    assert!(model.generate(vec![hot]).is_err());
    let long = request(&model, &[1; 41], warm(), 0);
    let error = model.generate(vec![long]).unwrap_err().to_string();
    assert!(error.starts_with("a sequence of 41 tokens: this model takes 40 at most"), "{error}");
}
