#pragma once

#include <filesystem>

#include "configs/node.h"

namespace layalign::configs {

/// Reads a config file. Where it has the key `base`, the file of that path (beside this one) is read first, and this file's keys
/// are laid over it: a section's keys one by one, an item of a list by its place or its `name`, everything else whole. null takes an
/// item of a list away.
///
///     base: ../math.yaml
///     output: runs/no_prompt
///     stages: {task: {prompt: false}}
///
/// Errors: ConfigError with the place; a base that leads back to itself.
Node read_with_base(const std::filesystem::path& file);

}  // namespace layalign::configs
