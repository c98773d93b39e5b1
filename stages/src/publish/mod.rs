//! `publish`: accepted rows become a release.
