#include "trainer/evaluate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/batch.h"
#include "data/error.h"
#include "model/shared_encoding.h"

namespace layalign::trainer {
namespace {

/// Often enough that whoever is asked to stop does so within a minute.
constexpr int64_t kMicroBatchesInARound = 4;

/// The row of each sample's language in the sums, and the languages in the order of the rows.
std::vector<std::string> languages_of(const std::vector<data::Sample>& samples, std::vector<int64_t>* rows) {
  std::vector<std::string> names;
  for (const auto& sample : samples) {
    auto found = std::find(names.begin(), names.end(), sample.language);
    if (found == names.end()) found = names.insert(names.end(), sample.language);
    rows->push_back(found - names.begin());
  }
  return names;
}

/// Announces the sources of the samples `mine`, in the order in which micro-batches encode them.
void expect_sources(const dist::ProcessGrid& grid, const model::Encoder& encoder, const std::vector<data::Sample>& samples,
                    const std::vector<int64_t>& mine, int64_t micro_batch) {
  for (size_t begin = 0; begin < mine.size(); begin += micro_batch) {
    std::vector<data::Sample> part;
    for (size_t i = begin; i < std::min(mine.size(), begin + static_cast<size_t>(micro_batch)); ++i) part.push_back(samples[mine[i]]);
    model::expect_shared(encoder, part, grid.tp);
  }
}

/// How samples are cut into micro-batches.
struct Cut {
  int64_t size = 1;    // samples in each
  int64_t before = 0;  // micro-batches that went before
};

/// Adds the losses and label tokens of the samples `chosen` to the rows of their languages.
void add_losses(const dist::ProcessGrid& grid, const Models& models, const std::vector<data::Sample>& samples,
                const std::vector<int64_t>& chosen, const std::vector<int64_t>& language_rows, Cut cut, std::vector<double>& sums) {
  for (size_t begin = 0; begin < chosen.size(); begin += cut.size) {
    grid.enter(dist::Section::kEvaluation, cut.before + static_cast<int64_t>(begin) / cut.size + 1);
    const size_t end = std::min(chosen.size(), begin + static_cast<size_t>(cut.size));
    std::vector<data::Sample> part;
    for (size_t i = begin; i < end; ++i) part.push_back(samples[chosen[i]]);
    const auto batch = data::pack(part, models.llm.config().bos_id, models.layalign.input_form()).to(grid.device);
    const auto states = model::encode_shared(models.encoder, batch, models.encoder_layers, grid.tp);
    const auto losses = models.layalign.label_losses(batch, states).to(at::kCPU, at::kDouble);
    for (size_t i = 0; i < part.size(); ++i) {
      const int64_t count = batch.label_offsets[i + 1] - batch.label_offsets[i];
      double* row = &sums[2 * language_rows[chosen[begin + i]]];
      row[0] += losses.narrow(0, batch.label_offsets[i], count).sum().item<double>();
      row[1] += static_cast<double>(count);
    }
  }
}

/// That of all ranks. `mine`: [languages, 2] of this one, equal within a tensor-parallel group.
Perplexity perplexity_of(const dist::ProcessGrid& grid, const std::vector<std::string>& languages, const std::vector<double>& mine) {
  auto on_device = at::tensor(mine, at::kDouble).view({static_cast<int64_t>(languages.size()), 2}).to(grid.device);
  if (grid.tp_rank != 0) on_device.zero_();
  grid.world.all_reduce(on_device);
  const auto sums = on_device.to(at::kCPU);
  const auto perplexity = [](const at::Tensor& row) { return std::exp(row[0].item<double>() / row[1].item<double>()); };
  Perplexity result;
  const auto total = sums.sum(0);
  result.label_tokens = static_cast<int64_t>(total[1].item<double>());
  result.loss = total[0].item<double>() / total[1].item<double>();
  result.perplexity = perplexity(total);
  for (size_t i = 0; i < languages.size(); ++i) {
    const auto row = sums[static_cast<int64_t>(i)];
    result.by_language.emplace_back(languages[i], perplexity(row));
    result.language_label_tokens.push_back(static_cast<int64_t>(row[1].item<double>()));
  }
  return result;
}

}  // namespace

std::vector<int64_t> select_held_out(const data::Dataset& dataset, const std::vector<int64_t>& held_out,
                                     const std::vector<std::string>& languages, std::optional<int64_t> limit) {
  std::map<std::string, int64_t> counts;
  std::vector<int64_t> selected;
  for (int64_t index : held_out) {
    const std::string& language = dataset.language(index);
    const int64_t before = counts[language]++;
    const bool wanted = languages.empty() || std::ranges::find(languages, language) != languages.end();
    if (wanted && (!limit || before < *limit)) selected.push_back(index);
  }
  for (const auto& language : languages) {
    if (counts.contains(language)) continue;
    std::string there;
    for (const auto& [name, count] : counts) there += (there.empty() ? "" : ", ") + name;
    throw data::DataError("perplexity: the held-out samples have none in " + language + "; there are " + there);
  }
  return selected;
}

std::optional<Perplexity> evaluate_perplexity(const dist::ProcessGrid& grid, const Models& models, const data::Dataset& dataset,
                                              const std::vector<int64_t>& indices, int64_t micro_batch,
                                              const std::function<bool()>& leave, PerplexityPart* part) {
  at::NoGradGuard no_grad;
  std::vector<data::Sample> samples;
  for (int64_t index : indices) samples.push_back(dataset.get(index));
  std::vector<int64_t> language_rows;
  const auto languages = languages_of(samples, &language_rows);
  const auto plan = deal_samples(samples, grid.dp_size);
  auto mine = plan[grid.dp_rank];
  std::stable_sort(mine.begin(), mine.end(),
                   [&](int64_t a, int64_t b) { return data::llm_tokens(samples[a]) < data::llm_tokens(samples[b]); });

  PerplexityPart from_start;
  if (part == nullptr) part = &from_start;
  part->sums.resize(2 * languages.size());
  const auto round = static_cast<size_t>(kMicroBatchesInARound * micro_batch);
  size_t longest = 0;  // ranks that have fewer samples wait with the others
  for (const auto& share : plan) longest = std::max(longest, share.size());
  const size_t done = std::min(mine.size(), static_cast<size_t>(part->rounds) * round);
  expect_sources(grid, models.encoder, samples, {mine.begin() + static_cast<int64_t>(done), mine.end()}, micro_batch);
  for (size_t begin = static_cast<size_t>(part->rounds) * round; begin < longest; begin += round) {
    if (leave()) return std::nullopt;
    const size_t first = std::min(mine.size(), begin), last = std::min(mine.size(), begin + round);
    const std::vector<int64_t> chosen(mine.begin() + static_cast<int64_t>(first), mine.begin() + static_cast<int64_t>(last));
    add_losses(grid, models, samples, chosen, language_rows, {micro_batch, static_cast<int64_t>(begin) / micro_batch}, part->sums);
    ++part->rounds;
  }
  return perplexity_of(grid, languages, part->sums);
}

}  // namespace layalign::trainer
