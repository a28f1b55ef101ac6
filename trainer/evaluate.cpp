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

Perplexity evaluate_perplexity(const dist::ProcessGrid& grid, const Models& models, const data::Dataset& dataset,
                               const std::vector<int64_t>& indices, int64_t micro_batch) {
  at::NoGradGuard no_grad;
  std::vector<data::Sample> samples;
  for (int64_t index : indices) samples.push_back(dataset.get(index));
  std::vector<int64_t> language_rows;
  const auto languages = languages_of(samples, &language_rows);

  auto mine = deal_samples(samples, grid.dp_size)[grid.dp_rank];
  std::stable_sort(mine.begin(), mine.end(),
                   [&](int64_t a, int64_t b) { return data::llm_tokens(samples[a]) < data::llm_tokens(samples[b]); });
  expect_sources(grid, models.encoder, samples, mine, micro_batch);
  auto sums = at::zeros({static_cast<int64_t>(languages.size()), 2}, at::kDouble);  // loss, label tokens
  for (size_t begin = 0; begin < mine.size(); begin += micro_batch) {
    grid.enter(dist::Section::kEvaluation, static_cast<int64_t>(begin) / micro_batch + 1);
    const size_t end = std::min(mine.size(), begin + static_cast<size_t>(micro_batch));
    std::vector<data::Sample> part;
    for (size_t i = begin; i < end; ++i) part.push_back(samples[mine[i]]);
    const auto batch = data::pack(part, models.llm.config().bos_id, models.layalign.input_form()).to(grid.device);
    const auto states = model::encode_shared(models.encoder, batch, models.encoder_layers, grid.tp);
    const auto losses = models.layalign.label_losses(batch, states).to(at::kCPU, at::kDouble);
    for (size_t i = 0; i < part.size(); ++i) {
      const int64_t count = batch.label_offsets[i + 1] - batch.label_offsets[i];
      sums[language_rows[mine[begin + i]]][0] += losses.narrow(0, batch.label_offsets[i], count).sum();
      sums[language_rows[mine[begin + i]]][1] += count;
    }
  }
  if (grid.tp_rank != 0) sums.zero_();
  auto on_device = sums.to(grid.device);
  grid.world.all_reduce(on_device);
  sums = on_device.to(at::kCPU);

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

}  // namespace layalign::trainer
