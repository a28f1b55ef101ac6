#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "configs/error.h"
#include "configs/schema.h"

namespace layalign::configs {

/// Reads a YAML or JSON file strictly, with the file that its key `base` names below it (see base.h), applies `overrides` ("optimizer.eps=1e-6", "stages.0.lr=1e-4": the value is
/// YAML) and checks every value. Relative paths are kept as they are written. Errors: one ConfigError with ALL
/// problems, a line each: "FILE:LINE:COLUMN: problem" or "--set KEY: problem".
RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

/// Block YAML with every key; load_config reads it back to the same values, floating-point numbers exactly.
std::string to_yaml(const RunConfig& config);

/// Every key with its type, default, meaning and allowed values, to be read in a terminal.
std::string help_text();

/// The same as Markdown, a table a section, and the languages: what docs/configuration.md ends with.
std::string help_markdown();

/// The keys in which two configs differ, such as "optimizer.eps: 1e-08 != 0.0001"; empty where they agree.
/// `folder` is not compared.
std::vector<std::string> differences(const RunConfig& a, const RunConfig& b);

}  // namespace layalign::configs
