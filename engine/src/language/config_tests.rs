use super::*;

fn read(text: &str) -> Result<LlamaConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    LlamaConfig::read(&path).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn published_sizes_are_read() {
    let smol = read(
        r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "vocab_size": 49152, "eos_token_id": 2, "model_type": "llama"}"#,
    )
    .unwrap();
    assert_eq!((smol.head_dim(), smol.n_kv_heads(), smol.eos_ids()), (64, 3, vec![2]));
    let seven = read("{}").unwrap();
    assert_eq!((seven.head_dim(), seven.n_kv_heads(), seven.num_hidden_layers), (128, 32, 32));
    let seventy = read(
        r#"{"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_hidden_layers": 80,
        "num_key_value_heads": 8, "eos_token_id": [2, 7]}"#,
    )
    .unwrap();
    assert_eq!((seventy.head_dim(), seventy.n_kv_heads(), seventy.eos_ids()), (128, 8, vec![2, 7]));
}

#[test]
fn what_is_not_supported_is_refused_with_key_and_value() {
    let refused = |text: &str, message: &str| {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(&format!("FILE: {message}")), "{error}");
    };
    refused(r#"{"model_type": "gpt2"}"#, "key `model_type` is \"gpt2\", which is not supported: \"llama\" is");
    refused(r#"{"hidden_act": "gelu"}"#, "key `hidden_act` is \"gelu\"");
    refused(r#"{"attention_bias": true}"#, "key `attention_bias` is true");
    refused(r#"{"num_attention_heads": 0}"#, "key `num_attention_heads` is 0");
    refused(r#"{"hidden_size": 99999999999}"#, "key `hidden_size` is 99999999999");
    refused(r#"{"max_position_embeddings": 9999999999}"#, "key `max_position_embeddings` is 9999999999");
    refused(r#"{"num_key_value_heads": 5}"#, "key `num_key_value_heads` is 5");
    refused(r#"{"head_dim": 7}"#, "key `head_dim` is 7");
    refused(r#"{"rope_theta": -1}"#, "key `rope_theta` is -1");
    refused(r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#, "key `rope_scaling` is of type \"linear\"");
    refused(r#"{"rope_parameters": {"rope_type": "llama3"}}"#, "key `rope_parameters.factor` is None");
}
