#include "trainer/representations.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "data/batch.h"
#include "data/error.h"
#include "model/shared_encoding.h"

namespace layalign::trainer {
namespace {

/// As many batches a data-parallel rank has between two questions whether to leave.
constexpr int64_t kBatchesInARound = 8;

bool asks_encoder(const Models& models) {
  return models.layalign.input_form() == data::InputForm::kMapped || !models.encoder_layers.empty();
}

bool has_mapping(const Models& models) { return models.layalign.input_form() == data::InputForm::kMapped; }

/// Means over the rows [offsets[i] + skip, offsets[i + 1]) of each sample i; a sample of `skip` rows has all of them.
at::Tensor means(const at::Tensor& rows_TD, const std::vector<int64_t>& offsets, int64_t skip) {
  std::vector<at::Tensor> found;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t count = offsets[i + 1] - offsets[i], left_out = count > skip ? skip : 0;
    found.push_back(rows_TD.narrow(0, offsets[i] + left_out, count - left_out).to(at::kDouble).mean(0));
  }
  return at::stack(found).to(at::kCPU, at::kFloat);
}

/// The means of every layer for a packed batch, in the order of represented_layers.
std::vector<at::Tensor> pooled(const dist::ProcessGrid& grid, const Models& models, const data::Batch& batch) {
  std::vector<at::Tensor> layers;
  model::EncoderStates states;
  if (asks_encoder(models)) {
    std::vector<int64_t> all(models.encoder.info().depth + 1);
    std::iota(all.begin(), all.end(), 0);
    states = model::encode_shared(models.encoder, batch, all, grid.tp);
    for (const auto& layer_SD : states.layers_ESD.unbind(0)) layers.push_back(means(layer_SD, batch.source_offsets, 0));
    if (has_mapping(models)) {
      layers.push_back(means(models.trainables.mapping(states.last_SD), batch.source_offsets, 0));
    }
    const auto chosen = at::tensor(models.encoder_layers, at::kLong).to(states.layers_ESD.device());
    states.layers_ESD = states.layers_ESD.index_select(0, chosen);
  }
  const int64_t last = models.llm.layers();
  models.layalign.hidden_rows(batch, states, [&](int64_t layer, const at::Tensor& hidden_TD) {
    const auto rows_TD = layer == last ? models.llm.normed(hidden_TD) : hidden_TD;
    layers.push_back(means(rows_TD, batch.llm_offsets, /*skip=*/1));
  });
  return layers;
}

}  // namespace

ParallelSentences parallel_sentences(const std::vector<data::EvaluationItem>& items) {
  ParallelSentences found;
  std::map<int64_t, std::map<std::string, const data::EvaluationItem*>> by_index;
  for (const auto& item : items) {
    if (std::ranges::find(found.languages, item.language) == found.languages.end()) {
      found.languages.push_back(item.language);
    }
    by_index[item.index][item.language] = &item;
  }
  const auto english = std::ranges::find(found.languages, "English");
  if (english == found.languages.end() || found.languages.size() < 2) {
    throw data::DataError("representations: the sentences of English and of another language are compared; there " +
                          std::string(found.languages.empty() ? "are none" : "is " + found.languages[0] + " alone"));
  }
  std::rotate(found.languages.begin(), english, english + 1);
  std::map<std::string, std::vector<data::EvaluationItem>> chosen;
  for (const auto& [index, same] : by_index) {
    if (same.size() < found.languages.size()) continue;
    found.indices.push_back(index);
    const auto& reference = *same.at("English");
    for (const auto& [language, item] : same) {
      if (item->answer != reference.answer) {
        throw data::DataError(item->origin + ": the answer is " + item->answer + ", in English (" + reference.origin +
                              ") it is " + reference.answer + ": these are not the same sentences in the same order");
      }
      chosen[language].push_back(*item);
    }
  }
  for (const auto& language : found.languages) {
    found.items.insert(found.items.end(), chosen[language].begin(), chosen[language].end());
  }
  return found;
}

std::vector<data::RepresentationsForm::Layer> represented_layers(const Models& models) {
  std::vector<data::RepresentationsForm::Layer> layers;
  const auto& encoder = models.encoder.info();
  const int64_t width = models.llm.config().hidden_size;
  for (int64_t i = 0; asks_encoder(models) && i <= encoder.depth; ++i) {
    layers.push_back({"encoder." + std::to_string(i), encoder.width});
  }
  if (has_mapping(models)) layers.push_back({"mapped", width});
  for (int64_t i = 0; i <= models.llm.layers(); ++i) layers.push_back({"llm." + std::to_string(i), width});
  return layers;
}

bool pool_representations(const dist::ProcessGrid& grid, const Models& models, std::span<const data::Sample> samples,
                          int64_t batch, const std::function<bool()>& leave,
                          const std::function<void(const std::string& layer, const at::Tensor& states_ND)>& take) {
  at::NoGradGuard no_grad;
  const auto layers = represented_layers(models);
  const auto size = static_cast<int64_t>(samples.size());
  std::vector<int64_t> mine;                                   // samples of this rank, in the order of its states
  std::vector<std::vector<at::Tensor>> states(layers.size());  // of each layer, a batch after the other
  const int64_t round = kBatchesInARound * batch * grid.dp_size;
  for (int64_t begin = 0; begin < size; begin += round) {
    grid.enter(dist::Section::kEvaluation, begin / round + 1);
    if (leave && leave()) return false;
    const auto dealt = deal_samples(samples.subspan(begin, std::min(round, size - begin)), grid.dp_size)[grid.dp_rank];
    for (size_t first = 0; first < dealt.size(); first += batch) {
      std::vector<data::Sample> part;
      for (size_t i = first; i < std::min(dealt.size(), first + static_cast<size_t>(batch)); ++i) {
        mine.push_back(begin + dealt[i]);
        part.push_back(samples[mine.back()]);
      }
      const auto packed = data::pack(part, models.llm.config().bos_id, models.layalign.input_form()).to(grid.device);
      const auto found = pooled(grid, models, packed);
      for (size_t layer = 0; layer < layers.size(); ++layer) states[layer].push_back(found[layer]);
    }
  }
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    auto all_ND = at::zeros({size, layers[layer].width}, at::kFloat);
    if (grid.tp_rank == 0 && !mine.empty()) all_ND.index_copy_(0, at::tensor(mine, at::kLong), at::cat(states[layer]));
    states[layer].clear();
    auto on_device = all_ND.to(grid.device);
    grid.world.all_reduce(on_device);
    if (grid.world_rank == 0) take(layers[layer].name, on_device.to(at::kCPU));
  }
  return true;
}

std::vector<Similarity> similarities(const at::Tensor& states_KND) {
  at::NoGradGuard no_grad;
  const auto states = states_KND.to(at::kDouble);
  const auto units_KND = states / states.norm(2, {-1}, /*keepdim=*/true).clamp_min(std::numeric_limits<double>::min());
  const int64_t sentences = states.size(1);
  std::vector<Similarity> found;
  for (int64_t language = 1; language < states.size(0); ++language) {
    const auto cosines_NN = units_KND[language].matmul(units_KND[0].t());
    const double same = cosines_NN.diagonal().sum().item<double>(), all = cosines_NN.sum().item<double>();
    const auto right = cosines_NN.argmax(1).eq(at::arange(sentences)).sum().item<int64_t>();
    const auto pairs = static_cast<double>(sentences * (sentences - 1));
    found.push_back({.cosine = same / static_cast<double>(sentences),
                     .unrelated_cosine = pairs > 0 ? (all - same) / pairs : std::numeric_limits<double>::quiet_NaN(),
                     .retrieval = static_cast<double>(right) / static_cast<double>(sentences)});
  }
  return found;
}

}  // namespace layalign::trainer
