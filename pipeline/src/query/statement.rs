//! What a statement is and names, before anything is read. Polars parses it again in full; here it only matters that
//! nothing but reading gets through, and which tables and `WITH` names stand in it.

use polars::sql::extract_table_identifiers;

use super::error::{QueryError, tidy};

/// One statement that only reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Names read from: tables, names of `WITH`, table functions.
    pub(super) tables: Vec<String>,
    /// Names given by `WITH`.
    pub(super) ctes: Vec<String>,
    /// `SHOW TABLES`.
    pub(super) shows_tables: bool,
}

impl Statement {
    pub(super) fn parse(sql: &str) -> Result<Self, QueryError> {
        let tokens = tokens(sql);
        // `( SELECT … )` is a query too.
        let mut words = tokens.iter().filter(|token| **token != Token::Sign('('));
        let (first, second) = (words.next(), words.next());
        let Some(first) = first else { return Err(QueryError::Empty) };
        if first.is("show") {
            if second.is_some_and(|word| word.is("tables")) {
                return Ok(Self { tables: Vec::new(), ctes: Vec::new(), shows_tables: true });
            }
            return Err(QueryError::ReadOnly { statement: "SHOW".to_owned() });
        }
        let explained = if first.is("explain") { second } else { Some(first) };
        let reads = |word: &Token| ["select", "with", "from", "values"].iter().any(|name| word.is(name));
        if !explained.is_some_and(reads) {
            return Err(QueryError::ReadOnly { statement: first.text().to_uppercase() });
        }
        let tables = extract_table_identifiers(sql, false, true).map_err(|error| QueryError::Syntax(tidy(&error)))?;
        if let Some(verb) = writing_verb(&tokens) {
            return Err(QueryError::ReadOnly { statement: verb.to_uppercase() });
        }
        Ok(Self { tables, ctes: ctes(&tokens), shows_tables: false })
    }
}

/// Whether polars reads a file by this name: `read_parquet('…')`.
pub(super) fn is_table_function(name: &str) -> bool {
    ["read_parquet", "read_csv", "read_json", "read_ipc"].contains(&name.to_lowercase().as_str())
}

/// A second statement behind a `;`, or one behind `WITH … AS (…)`, that writes.
fn writing_verb(tokens: &[Token]) -> Option<String> {
    let verbs = ["insert", "update", "delete", "create", "drop", "truncate", "alter", "merge", "copy"];
    tokens.windows(3).find_map(|window| {
        let [before, word, after] = window else { return None };
        let begins = matches!(before, Token::Sign(';' | ')'));
        let goes_on = matches!(after, Token::Word { .. });
        let verb = verbs.iter().find(|verb| word.is(verb))?;
        (begins && goes_on).then(|| (*verb).to_owned())
    })
}

/// Names before `AS ( SELECT`, as only `WITH` has them.
fn ctes(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !token.is("as") {
            continue;
        }
        let mut behind = tokens.iter().skip(at + 1);
        let opens = behind.by_ref().find(|token| !token.is("not") && !token.is("materialized"));
        let body = behind.find(|token| **token != Token::Sign('('));
        let is_query = ["select", "with", "from", "values"].iter().any(|verb| body.is_some_and(|body| body.is(verb)));
        if opens != Some(&Token::Sign('(')) || !is_query {
            continue;
        }
        let before = tokens.get(..at).unwrap_or_default();
        // `name (a, b) AS (`: the names of its columns stand between.
        let name_at = match before.last() {
            Some(Token::Sign(')')) => before.iter().rposition(|token| *token == Token::Sign('(')),
            _ => Some(before.len()),
        };
        if let Some(Token::Word { text, .. }) = name_at.and_then(|at| before.get(at.checked_sub(1)?)) {
            names.push(text.clone());
        }
    }
    names
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word { text: String, quoted: bool },
    Sign(char),
}

impl Token {
    /// Whether it is this keyword, in whatever case.
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word { text, quoted: false } if text.eq_ignore_ascii_case(keyword))
    }

    fn text(&self) -> String {
        match self {
            Self::Word { text, .. } => text.clone(),
            Self::Sign(sign) => sign.to_string(),
        }
    }
}

/// Words and signs, without blanks, comments and literals.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(first) = rest.next() {
        match (first, rest.peek().copied()) {
            ('-', Some('-')) => while rest.next().is_some_and(|next| next != '\n') {},
            ('/', Some('*')) => {
                let mut last = ' ';
                rest.next();
                while let Some(next) = rest.next().filter(|next| (last, *next) != ('*', '/')) {
                    last = next;
                }
            }
            ('\'' | '"' | '`', _) => {
                let mut text = String::new();
                while let Some(next) = rest.next() {
                    if next == first && rest.next_if_eq(&first).is_none() {
                        break;
                    }
                    text.push(next);
                }
                if first == '\'' {
                    tokens.push(Token::Sign('\''));
                } else {
                    tokens.push(Token::Word { text, quoted: true });
                }
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let mut text = String::from(first);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    text.push(next);
                }
                tokens.push(Token::Word { text, quoted: false });
            }
            _ if first.is_whitespace() => {}
            _ => tokens.push(Token::Sign(first)),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> String {
        match Statement::parse(sql) {
            Err(QueryError::ReadOnly { statement }) => statement,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn only_reading_gets_through() {
        assert_eq!(refused("DROP TABLE pairs"), "DROP");
        assert_eq!(refused("  /* SELECT */ -- SELECT\n delete FROM pairs"), "DELETE");
        assert_eq!(refused("CREATE TABLE x AS SELECT 1"), "CREATE");
        assert_eq!(refused("TRUNCATE pairs"), "TRUNCATE");
        assert_eq!(refused("EXPLAIN DELETE FROM pairs"), "EXPLAIN");
        assert_eq!(refused("SELECT 1; DROP TABLE pairs"), "DROP");
        assert_eq!(refused("\"select\" 1"), "SELECT");
        assert!(matches!(Statement::parse(" ; -- nothing"), Err(QueryError::ReadOnly { .. })));
        assert!(matches!(Statement::parse(" -- nothing"), Err(QueryError::Empty)));
        assert!(matches!(Statement::parse("SELECT * FROM (pairs"), Err(QueryError::Syntax(_))));
    }

    #[test]
    fn words_in_literals_and_columns_are_not_verbs() {
        let sql = "SELECT 'a; drop table b' AS \"delete\", reason, update FROM verdicts WHERE (a) <> 'it''s'";
        assert_eq!(Statement::parse(sql).unwrap().tables, ["verdicts"]);
        assert_eq!(Statement::parse("SELECT 1 /* unclosed").ok().map(|found| found.tables), None);
        assert!(Statement::parse("EXPLAIN SELECT 1").is_ok());
        assert!(Statement::parse("(SELECT 1) UNION ALL (SELECT 2)").is_ok());
        assert!(Statement::parse("show tables;").unwrap().shows_tables);
    }

    #[test]
    fn tables_and_with_names_are_found() {
        let sql = "WITH good AS (SELECT * FROM verdicts), many(a, b) AS (SELECT 1, 2)
                   SELECT sum(x) OVER w FROM good JOIN references USING (reference_id)
                   WHERE id IN (SELECT id FROM \"pairs\") WINDOW w AS (PARTITION BY y)";
        let statement = Statement::parse(sql).unwrap();
        assert_eq!(statement.ctes, ["good", "many"]);
        for table in ["verdicts", "good", "references", "pairs"] {
            assert!(statement.tables.iter().any(|found| found == table), "{table}: {:?}", statement.tables);
        }
    }
}
