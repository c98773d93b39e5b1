//! `import`: existing pairs with instructions become `references`, `pairs` and `candidates`.
