use super::*;
use crate::golden::Golden;

#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    rendered: Vec<Rendered>,
}

#[derive(Deserialize)]
struct Rendered {
    messages: Vec<Message>,
    is_prompt: bool,
    /// None where the template refuses.
    text: Option<String>,
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/chat/templates.json");
    let cases: Vec<Case> = crate::config::read(&path).unwrap();
    let tokens: Tokens = vec![("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
    let mut n_refused = 0;
    for Case { name, template, rendered } in cases {
        let template = Template::new(&template).unwrap();
        for Rendered { messages, is_prompt, text } in rendered {
            match (template.render(&messages, is_prompt, &tokens), text) {
                (found, Some(text)) => assert_eq!(found.unwrap(), text, "{name}"),
                (found, None) => {
                    assert!(found.unwrap_err().contains("Conversation roles must alternate"), "{name}");
                    n_refused += 1;
                }
            }
        }
    }
    assert_eq!(n_refused, 2);
}

#[test]
fn templates_that_are_wrong_or_endless_are_errors() {
    let refused = |source: &str| {
        let template = Template::new(source)?;
        template.render(&[Message::new("user", "x")], true, &Vec::new())
    };
    assert!(refused("{% if %}").unwrap_err().starts_with("line 1: "));
    assert!(refused("{{ raise_exception('no') }}").unwrap_err().contains("no"));
    assert!(refused("{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}").is_err());
    assert!(refused("{{ messages.no.such }}").is_err());
    let nested =
        "{% set n = namespace(x=[]) %}{% for i in range(200) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}";
    assert!(refused(nested).unwrap_err().contains("more than 100 deep"));
    assert_eq!(refused("{{ messages[0].no }}").unwrap(), "");
    assert_eq!(refused("{{ messages[0].content").ok(), None);
    assert_eq!(refused("{%").ok(), None);
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = r#"{"model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2, "<e>": 3}},
        "pre_tokenizer": {"type": "Whitespace"},
        "added_tokens": [{"id": 3, "content": "<e>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]}"#;
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<ChatTokenizer, String> {
    let folder = folder(files);
    let shown = folder.path().to_str().unwrap().to_owned();
    ChatTokenizer::load(folder.path()).map_err(|error| error.to_string().replace(&shown, "FOLDER"))
}

#[test]
fn files_say_which_tokens_end_and_which_template_is_used() {
    let hello = [Message::new("user", "hello")];
    let plain = load(&[]).unwrap();
    assert!(plain.stop_ids().is_empty());
    assert!(plain.render(&hello, true).unwrap_err().to_string().contains("has no chat template"));
    assert_eq!(
        (plain.encode("a <e> b c").unwrap(), plain.decode(&[1, 3, 2]).unwrap()),
        (vec![1, 3, 2, 0], "a b".into())
    );
    assert_eq!((plain.id("<e>"), plain.token(2), plain.n_tokens()), (Some(3), Some("b".to_owned()), 4));

    let config = r#"{"eos_token": {"content": "<e>"}, "chat_template": "{{ messages[0].content + eos_token }}"}"#;
    let generation = r#"{"eos_token_id": [2, 1]}"#;
    let full = load(&[("tokenizer_config.json", config), ("generation_config.json", generation)]).unwrap();
    assert_eq!(full.stop_ids(), [1, 2, 3]);
    assert_eq!(full.render(&hello, true).unwrap(), "hello<e>");
    let other =
        load(&[("tokenizer_config.json", config), ("chat_template.jinja", "[{{ messages | length }}]")]).unwrap();
    assert_eq!(other.render(&hello, true).unwrap(), "[1]");
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(load(&[("tokenizer_config.json", named)]).unwrap().render(&hello, true).unwrap(), "d");
}

#[test]
fn files_that_are_wrong_are_errors_that_say_where() {
    assert!(ChatTokenizer::load(Path::new("no/such")).unwrap_err().to_string().starts_with("no/such/tokenizer.json: "));
    assert!(load(&[("tokenizer.json", "{}")]).unwrap_err().starts_with("FOLDER/tokenizer.json: "));
    let config = r#"{"chat_template": "{% if %}"}"#;
    let error = load(&[("tokenizer_config.json", config)]).unwrap_err();
    assert!(error.starts_with("FOLDER/tokenizer_config.json: key `chat_template`: line 1: "), "{error}");
    assert!(load(&[("chat_template.jinja", "{{")]).unwrap_err().starts_with("FOLDER/chat_template.jinja: "));
}

#[test]
fn threads_may_share_them() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<ChatTokenizer>();
    is_shared::<crate::language::Llama>();
    is_shared::<crate::language::Sequence>();
}

#[test]
fn a_golden_model_ends_where_its_config_says() {
    let golden = Golden::open("llama");
    let folder = folder(&[]);
    std::fs::copy(golden.folder().join("config.json"), folder.path().join("config.json")).unwrap();
    assert_eq!(ChatTokenizer::load(folder.path()).unwrap().stop_ids(), [2]);
}
