//! Mistakes that people make: the head of the manifest is added where a case does not start with `version`.

const STAGE: &str = "[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"photos\"\nsource = { type = \"folder\" }\n";

/// Name and text of each mistake.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let top = |text: &str| format!("version = 1\n{text}\n{STAGE}");
    let stage = |text: &str| format!("version = 1\n{STAGE}{text}");
    let sieve = |text: &str| format!("version = 1\n[[stage]]\nname = \"a\"\nkind = \"sieve\"\n{text}");
    let own = |text: &str| text.to_owned();
    let model = |name: &str, more: &str| {
        format!("[models.{name}]\nrole = \"clip_filter\"\nsources = [{{ type = \"path\", path = \"x\" }}]\n{more}")
    };
    vec![
        ("empty file", own("")),
        ("only a comment", own("# nothing yet\n")),
        ("no stages", own("version = 1\n")),
        ("stages is empty", own("version = 1\nstage = []\n")),
        ("version missing", format!("seed = 1\n{STAGE}")),
        ("version of the future", own("version = 2\n[[step]]\nname = 1\n")),
        ("version zero", own("version = 0\n")),
        ("version in quotes", own(&format!("version = \"1\"\n{STAGE}"))),
        ("version a float", own(&format!("version = 1.0\n{STAGE}"))),
        ("unknown key at the top", top("sed = 5")),
        ("unknown key far from any", top("colour = \"red\"")),
        ("unknown key in a table", top("[storage]\nrot = \"x\"")),
        ("top key inside a table", top("[storage]\nseed = 3")),
        ("stage key at the top", top("shard_rows = 3")),
        ("stage table at the top", own(&format!("version = 1\n{STAGE}[resources]\nparallel = 2\n"))),
        ("table key at the top", top("root = \"data\"")),
        ("stages written wrong", own("version = 1\n[[stages]]\nname = \"a\"\nkind = \"gather\"\n")),
        ("stage in single brackets", own("version = 1\n[stage]\nname = \"a\"\nkind = \"gather\"\n")),
        ("stage is a list of strings", own("version = 1\nstage = [\"a\"]\n")),
        ("catalog in double brackets", top("[[catalog]]\nurl = \"sqlite:cafe.db\"")),
        ("catalog is a string", top("catalog = \"sqlite:cafe.db\"")),
        ("seed is a string", top("seed = \"7\"")),
        ("seed is a float", top("seed = 7.0")),
        ("seed is negative", top("seed = -1")),
        ("seed too large for 64 bits", top("seed = 99999999999999999999")),
        ("a date", top("seed = 2026-01-01")),
        ("infinity", top("[budget]\nworker_hours = inf")),
        ("not a number", top("[budget]\nworker_hours = nan")),
        ("negative budget", top("[budget]\nworker_hours = -0.5")),
        ("model family is a number", top("model_family = 2")),
        ("catalog of another database", top("[catalog]\nurl = \"postgres://me:hunter2@db/cafe\"")),
        ("catalog without a scheme", top("[catalog]\nurl = \"cafe.db\"")),
        ("catalog in memory", top("[catalog]\nurl = \"sqlite::memory:\"")),
        ("catalog names no file", top("[catalog]\nurl = \"sqlite:\"")),
        ("storage on a server", top("[storage]\nroot = \"s3://bucket/data\"")),
        ("storage root is empty", top("[storage]\nroot = \"\"")),
        ("model with capitals", top(&model("Clip", ""))),
        (
            "model of an unknown role",
            top("[models.clip]\nrole = \"clip_filtre\"\nsources = [{ type = \"path\", path = \"x\" }]"),
        ),
        ("model without sources", top("[models.clip]\nrole = \"clip_filter\"")),
        ("model with an unknown key", top(&model("clip", "licens = \"MIT\""))),
        ("model from nowhere", top("[models.clip]\nrole = \"clip_filter\"\nsources = []")),
        ("model from an unknown place", top("[models.clip]\nrole = \"clip_filter\"\nsources = [{ type = \"ftp\" }]")),
        (
            "model of a hub without revision and files",
            top("[models.clip]\nrole = \"clip_filter\"\nsources = [{ type = \"hub\", repository = \"a/b\" }]"),
        ),
        (
            "model of a hub with an address",
            top(
                "[models.clip]\nrole = \"clip_filter\"\nsources = [{ type = \"hub\", repository = \"https://x.y/a/b\", revision = \"main\" }]\nfiles = [{ path = \"a\" }]",
            ),
        ),
        (
            "model in a wheel that is none",
            top(
                "[models.clip]\nrole = \"clip_filter\"\nsources = [{ type = \"wheel\", package = \"a\", version = \"1\", file = \"a.tar.gz\" }]\nfiles = [{ path = \"a\" }]",
            ),
        ),
        ("model with a damaged digest", top(&model("clip", "files = [{ path = \"a\", sha256 = \"abc\" }]"))),
        (
            "model with files that leave its folder",
            top(&model("clip", "files = [{ path = \"../a\" }, { path = \"/a\" }, { path = \"a\" }, { path = \"a\" }]")),
        ),
        ("model that cannot be prepared", top(&model("clip", "prepare = \"gguf\"\nfiles = [{ path = \"a.bin\" }]"))),
        ("models as a list", top("[[models]]\nname = \"clip\"")),
        ("a secret", stage("api_key = \"sk-123456\"\n")),
        ("a secret at the top", top("hub_token = \"hf_abc\"")),
        ("kind missing", own("version = 1\n[[stage]]\nname = \"a\"\nroot = \"x\"\n")),
        ("kind misspelled as a key", own("version = 1\n[[stage]]\nname = \"a\"\nkinds = \"gather\"\nroot = \"x\"\n")),
        ("kind unknown", own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"gathr\"\nroot = \"x\"\nrote = 1\n")),
        ("kind unknown, far from any", own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"embiggen\"\n")),
        ("kind is a number", own("version = 1\n[[stage]]\nname = \"a\"\nkind = 3\n")),
        (
            "name missing",
            own("version = 1\n[[stage]]\nkind = \"gather\"\nroot = \"x\"\nsource = { type = \"folder\" }\n"),
        ),
        (
            "name with capitals and spaces",
            stage("[[stage]]\nname = \"Score It\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\n"),
        ),
        ("name with a dot", stage("[[stage]]\nname = \"a.b\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\n")),
        ("name empty", stage("[[stage]]\nname = \"\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\n")),
        ("name twice", stage(STAGE)),
        ("needs is a string", stage("needs = \"b\"\n")),
        (
            "needs an unknown stage",
            stage(
                "[[stage]]\nname = \"gather-all\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"gatherall\", \"zzz\"]\n[[stage]]\nname = \"b\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"gather_al\"]\n",
            ),
        ),
        ("needs itself", stage("needs = [\"a\"]\n")),
        (
            "needs twice",
            stage("[[stage]]\nname = \"b\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"a\", \"a\"]\n"),
        ),
        ("needs a number", stage("needs = [1]\n")),
        (
            "a circle",
            stage(
                "needs = [\"c\"]\n[[stage]]\nname = \"b\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"a\"]\n[[stage]]\nname = \"c\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"b\"]\n[[stage]]\nname = \"d\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nneeds = [\"c\"]\n",
            ),
        ),
        ("shard_rows misspelled", stage("shard_row = 10\n")),
        ("shard_rows is zero", stage("shard_rows = 0\n")),
        ("shard_rows too large", stage("shard_rows = 5_000_000_000\n")),
        ("share above one", stage("max_quarantine = 20\n")),
        ("parallel too large for its type", stage("[stage.resources]\nparallel = 4294967296\n")),
        ("resources unknown key", stage("[stage.resources]\ngpus = 1\n")),
        ("own key unknown", stage("colour = 1\n")),
        (
            "own key misspelled",
            own(
                "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nrooot = \"x\"\nsource = { type = \"folder\" }\n",
            ),
        ),
        ("own keys missing", own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\n")),
        ("own list missing", sieve("")),
        ("key of another kind", stage("rules = []\n")),
        ("integer out of its type", stage("limit = 70000\n")),
        ("boolean in quotes", stage("follow = \"yes\"\n")),
        ("string without quotes inside a map", stage("labels = { n = 1 }\n")),
        ("one of several words", stage("duplicates = \"frist\"\n")),
        ("one of several words, far from any", stage("duplicates = \"everything\"\n")),
        ("one of several words is a number", stage("duplicates = 1\n")),
        (
            "tag missing",
            own(
                "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"x\"\nsource = { pattern = \"*\" }\n",
            ),
        ),
        (
            "tag wrong",
            own(
                "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"x\"\nsource = { type = \"tra\", files = [\"x\"] }\n",
            ),
        ),
        (
            "tagged table with a wrong key",
            own(
                "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"x\"\nsource = { type = \"tar\", file = [\"x\"] }\n",
            ),
        ),
        (
            "tagged table with an empty list",
            own(
                "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"x\"\nsource = { type = \"tar\", files = [] }\n",
            ),
        ),
        (
            "tagged table is a string",
            own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"x\"\nsource = \"tar\"\n"),
        ),
        ("keyed table: unknown choice", stage("resize = { exactly = 3 }\n")),
        ("keyed table: wrong inside", stage("resize = { within = { width_px = \"64\" } }\n")),
        ("keyed table: two choices", stage("resize = { exact = 3, within = { width_px = 1, height_px = 1 } }\n")),
        ("keyed table: wrong word", stage("resize = \"nevr\"\n")),
        ("keyed table: a number", stage("resize = 3\n")),
        ("keyed table: nothing chosen", stage("resize = {}\n")),
        ("list is empty", sieve("rules = []\n")),
        (
            "deep in a list",
            sieve("rules = [{ column = \"x\" }, { column = \"y\", min = \"0.5\" }, { colum = \"z\" }]\n"),
        ),
        ("untagged: wrong type", sieve("rules = [{ column = \"x\", is = 3 }]\n")),
        ("untagged: key missing", sieve("rules = [{ column = \"x\", is = { from = 1, too = 2 } }]\n")),
        ("untagged: deep wrong type", sieve("rules = [{ column = \"x\", is = { from = 1, to = \"2\" } }]\n")),
        ("float not above zero", sieve("rules = [{ column = \"x\" }]\nconfidence = 0.0\n")),
        ("kind that is an enum: tag missing", own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"mend\"\n")),
        (
            "kind that is an enum: tag wrong",
            own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"mend\"\nmode = \"magic\"\n"),
        ),
        (
            "kind that is an enum: unknown key",
            own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"mend\"\nmode = \"hand\"\nwho = \"I\"\nshard_row = 2\n"),
        ),
        (
            "kind that is an enum: key of the other branch",
            own("version = 1\n[[stage]]\nname = \"a\"\nkind = \"mend\"\nmode = \"hand\"\nargv = [\"x\"]\n"),
        ),
        ("syntax: text without quotes", top("model_family = mini")),
        ("syntax: no value", top("seed =")),
        ("syntax: no equals sign", top("seed 5")),
        ("syntax: quote not closed", top("model_family = \"mini\n")),
        ("syntax: bracket not closed", stage("needs = [\"b\"\n")),
        ("syntax: header not closed", own("version = 1\n[[stage]\nname = \"a\"\n")),
        ("syntax: key twice", top("seed = 1\nseed = 2")),
        ("syntax: table twice", top("[storage]\nroot = \"a\"\n[storage]\nroot = \"b\"")),
        ("syntax: backslash in a path", top("[storage]\nroot = \"C:\\data\"")),
        ("syntax: two faults", top("seed = = 1\nmodel_family = mini")),
        ("syntax: yaml", own("version: 1\nstages:\n  - name: a\n")),
        ("syntax: json", own("{\"version\": 1, \"stage\": []}")),
        ("syntax: nested too deeply", top(&format!("seed = {}{}", "[".repeat(200), "]".repeat(200)))),
        ("syntax: dotted too deeply", top(&format!("{}x = 1", "a.".repeat(200)))),
    ]
}
