// The one source of the library that owns the shared precompiled header.
