#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "trainer/train_step.h"

namespace layalign::trainer {

/// Perplexity on held-out samples, the same on every rank.
struct Perplexity {
  double loss = 0;  ///< mean over all label tokens
  double perplexity = 0;
  int64_t label_tokens = 0;
  std::vector<std::pair<std::string, double>> by_language;  ///< in the order in which languages first appear
  std::vector<int64_t> language_label_tokens;               ///< in the same order
};

/// Those of `held_out` that are in `languages` (empty: in any), the first `limit` of each language, in their order.
/// Errors: DataError where one of `languages` has none, naming those that have.
std::vector<int64_t> select_held_out(const data::Dataset& dataset, const std::vector<int64_t>& held_out,
                                     const std::vector<std::string>& languages, std::optional<int64_t> limit);

/// What a rank has of a perplexity whose evaluation was left: another one of the same samples on the same grid goes on from there and
/// finds the same numbers, to the last bit.
struct PerplexityPart {
  int64_t rounds = 0;        ///< done
  std::vector<double> sums;  ///< [languages, 2]: loss and label tokens; empty before the first round
};

/// Evaluates `indices` of `dataset`: dealt to the data-parallel ranks, in micro-batches of similar length.
/// `leave`: asked on every rank before each round of a few micro-batches, and answered alike; true ends it, and nothing is returned.
/// `part`: where to go on, and how far it got; null: from the start.
/// Collectives: those of the micro-batches on tp; one all-reduce of [languages, 2] on world.
std::optional<Perplexity> evaluate_perplexity(const dist::ProcessGrid& grid, const Models& models, const data::Dataset& dataset,
                                              const std::vector<int64_t>& indices, int64_t micro_batch,
                                              const std::function<bool()>& leave, PerplexityPart* part = nullptr);

}  // namespace layalign::trainer
