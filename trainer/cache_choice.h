#pragma once

#include <cstdint>
#include <string>

#include "dist/process.h"
#include "model/cached_encoder.h"

namespace layalign::trainer {

/// cache.mode auto: whether the encoder's states are read or computed. The first steps compute, the next ones read; then all ranks
/// compare the seconds a source token and take the faster way, for the rest of the run and of those that resume it.
class CacheChoice {
 public:
  /// `stored`: what an earlier part of the run chose, "read" or "compute"; empty: nothing yet. Keeps references.
  CacheChoice(model::CachedEncoder& encoder, const dist::Process* process, const std::string& stored);

  /// Call it after each step, on every rank. Collectives: one gather on the control channel, at the end of the trial.
  void after_step();

  /// "read", "compute", or empty while both are being tried.
  const std::string& choice() const { return choice_; }

 private:
  void decide();
  const char* described() const;
  void apply();

  model::CachedEncoder& encoder_;
  const dist::Process* process_;
  std::string choice_;
  int64_t steps_ = 0;                       // of the trial
  model::CacheTraffic before_;              // at the first step that counts of the way that is tried
  double compute_s_ = 0, computed_tokens_ = 0;  // of the steps that count
};

}  // namespace layalign::trainer
