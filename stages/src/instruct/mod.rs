//! `instruct`: instructions from templates are drawn for references and become `pairs`.
