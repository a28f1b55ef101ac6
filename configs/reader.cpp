#include "configs/reader.h"

#include "configs/base.h"
#include "configs/binder.h"
#include "configs/overrides.h"
#include "configs/report.h"
#include "configs/validation.h"

namespace layalign::configs {

RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  Node document = read_with_base(file);
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
