//! Decoding pictures that come from outside: limits, orientation, canonical pixels, identity.
