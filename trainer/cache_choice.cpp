#include "trainer/cache_choice.h"

#include <nlohmann/json.hpp>

#include "trainer/format.h"
#include "trainer/log.h"

namespace layalign::trainer {
namespace {

/// Steps of each way. The first one does not count: it loads the encoder, or finds nothing read ahead.
constexpr int64_t kSteps = 4;

constexpr model::CacheUse kCompute{.read = false, .compute = true, .add = false, .timed = true};
constexpr model::CacheUse kRead{.read = true, .compute = true, .add = false, .timed = true};

std::string microseconds(double seconds, double tokens) {
  return format("%.1f us", 1e6 * seconds / tokens);
}

}  // namespace

CacheChoice::CacheChoice(model::CachedEncoder& encoder, const dist::Process* process, const std::string& stored)
    : encoder_(encoder), process_(process), choice_(stored) {
  encoder_.set_use(kCompute);
  if (choice_.empty()) return;
  log_info(std::string("cache.mode auto: as chosen before, states are ") + described());
  apply();
}

void CacheChoice::after_step() {
  if (!choice_.empty()) return;
  ++steps_;
  const auto& now = encoder_.traffic();
  if (steps_ == 1 || steps_ == kSteps + 1) before_ = now;
  if (steps_ == kSteps) {
    compute_s_ = now.compute_s - before_.compute_s;
    computed_tokens_ = static_cast<double>(now.computed_tokens - before_.computed_tokens);
    encoder_.set_use(kRead);
  }
  if (steps_ == 2 * kSteps) decide();
}

void CacheChoice::decide() {
  const auto& now = encoder_.traffic();
  const nlohmann::json mine = {compute_s_, computed_tokens_, now.read_s - before_.read_s,
                               static_cast<double>(now.read_tokens - before_.read_tokens)};
  double sums[4] = {0, 0, 0, 0};
  for (const auto& text : process_ ? process_->all_gather(mine.dump()) : std::vector<std::string>{mine.dump()}) {
    const auto values = nlohmann::json::parse(text);
    for (size_t i = 0; i < 4; ++i) sums[i] += values[i].get<double>();
  }
  const auto [compute_s, computed, read_s, read] = sums;
  if (read == 0) {
    choice_ = "compute";
    log_info("cache.mode auto: no text of the first steps is cached, so the encoder's states are computed");
  } else {
    choice_ = read_s / read < compute_s / computed ? "read" : "compute";
    log_info("cache.mode auto: a source token takes " + microseconds(read_s, read) + " to read and " +
             microseconds(compute_s, computed) + " to compute: from now on states are " +
             described());
  }
  apply();
}

const char* CacheChoice::described() const { return choice_ == "read" ? "read" : "computed"; }

void CacheChoice::apply() {
  auto use = choice_ == "read" ? kRead : kCompute;
  use.timed = false;
  encoder_.set_use(use);
}

}  // namespace layalign::trainer
