"""Goldens of chat templates: Llama 2's, ChatML as SmolLM2 has it, and one that uses much of what templates use."""

import json

from common import folder
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MUCH = """{#- A comment. -#}
{%- macro block(title, text) -%}
## {{ title | upper }}
{{ text | trim }}
{%- endmacro -%}
{%- set state = namespace(count=0, last='') -%}
{{- bos_token }}
{%- if tools is not none and tools is defined %}
TOOLS
{%- endif %}
{% for message in messages %}
    {%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}
    {%- set state.count = state.count + 1 %}
    {%- set parts = message.content.split('\\n') %}
    {% if message.content.startswith('{') or message['content'] is not string %}
{{ message | tojson }}
    {% elif loop.last %}
{% generation %}{{ block(message.role, parts[-1]) }}{% endgeneration %}

    {% else %}
{{ loop.index }}/{{ loop.length }} {{ message['role'][:1] }}: {{ parts | join(' | ') | replace('cat', 'dog') }} ({{ parts | length }})
    {% endif %}
{% endfor %}
{{ messages | tojson(indent=2) }}
{{ state.count }} {{ unknown_thing is defined }} {{ none }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{% if add_generation_prompt %}>>>{% endif %}"""


def turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


CONVERSATIONS = [
    [turn("user", "Can you generate an image for this dog on the beach?")],
    [turn("system", "You write one training example."), turn("user", "A cat.")],
    [turn("user", "  A cat, \n spaced.\t"), turn("assistant", "  A cat sits.\n"), turn("user", "And “now”? <b>&amp;'\"</b> ü 😀")],
    [turn("system", " Be brief.\n"), turn("user", "1"), turn("assistant", "2"), turn("user", "3"), turn("assistant", "4"),
     turn("user", "{\"a\": 5}")],
    [turn("user", ""), turn("assistant", ""), turn("user", "cat\ncat\n\ncat")],
    [turn("user", "a"), turn("user", "b")],
    [turn("system", "Only a system.")],
    [turn("user", "x"), turn("assistant", "y")],
]


def make() -> list[dict]:
    found = []
    for name, template in {"llama-2": LLAMA_2, "chatml": CHATML, "much": MUCH}.items():
        inner = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
        )
        rendered = []
        for messages in CONVERSATIONS:
            for prompt in [False, True]:
                try:
                    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
                except Exception as error:
                    text, message = None, str(error)
                    assert "alternate" in message, message
                rendered.append({"messages": messages, "is_prompt": prompt, "text": text})
        found.append({"name": name, "template": template, "rendered": rendered})
    return found


(folder("chat") / "templates.json").write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n")
