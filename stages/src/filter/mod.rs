//! `filter`: threshold rules over scores become `verdicts`.
