#include "configs/reader.h"

#include <system_error>

#include "configs/binder.h"
#include "configs/node.h"
#include "configs/overrides.h"
#include "configs/report.h"
#include "configs/strict_json.h"
#include "configs/validation.h"

namespace layalign::configs {
namespace {

Node read_file(const std::filesystem::path& file) {
  try {
    return read_document(read_text_file(file), file.string());
  } catch (const std::system_error& error) {
    throw ConfigError(error.what());
  }
}

}  // namespace

RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  Node document = read_file(file);
  Report report;
  for (const std::string& assignment : overrides) {
    try {
      apply_override(document, assignment);
    } catch (const ConfigError& error) {
      report.add(error);
    }
  }
  RunConfig config = bind(document, report);
  validate(config, report);
  report.throw_problems();
  config.folder = file.has_parent_path() ? file.parent_path().string() : ".";
  return config;
}

}  // namespace layalign::configs
