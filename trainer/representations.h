#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/evaluation_task.h"
#include "data/representations_file.h"
#include "data/sample.h"
#include "dist/process_grid.h"
#include "trainer/train_step.h"

namespace layalign::trainer {

/// Sentences that say the same in several languages.
struct ParallelSentences {
  std::vector<std::string> languages;       ///< English first
  std::vector<int64_t> indices;             ///< which of the file each is, the same in every language
  std::vector<data::EvaluationItem> items;  ///< a language after the other, `indices` in each
};

/// Those questions that every language has. Errors: DataError naming both places where the reference answers of a
/// question differ, and where English or a second language is missing.
ParallelSentences parallel_sentences(const std::vector<data::EvaluationItem>& items);

/// The layers whose states are pooled, in their order:
///   encoder.0 .. encoder.n   hidden_states[0..n] of the encoder
///   mapped                   the mapping's output
///   llm.0                    the LLM's input
///   llm.1 .. llm.L           what each layer makes of it, the last one after the final norm
/// Without the encoder's (as the LLM alone is asked) or without a mapping, those are left out.
std::vector<data::RepresentationsForm::Layer> represented_layers(const Models& models);

/// The mean of each layer's states over the tokens of each sample: of the encoder over all that it reads, of the LLM
/// over all but the bos. Sums in float64, so that a mean is that of the states, whose own rounding may depend on the
/// company of a batch. `batch`: samples at once. `leave`: asked on every rank before each round of a few batches, and
/// answered alike; true ends it. `take` gets on the first rank each layer of represented_layers with its states
/// [samples, width], float32 in CPU memory, when all samples are done. False where it was left. Collectives: those of a
/// forward pass on tp; an all-reduce of [samples, width] for each layer on world.
bool pool_representations(const dist::ProcessGrid& grid, const Models& models, std::span<const data::Sample> samples,
                          int64_t batch, const std::function<bool()>& leave,
                          const std::function<void(const std::string& layer, const at::Tensor& states_ND)>& take);

/// How near a language's sentences are to the same sentences in the first language.
struct Similarity {
  double cosine = 0;            ///< mean of the pairs that say the same
  double unrelated_cosine = 0;  ///< mean of all other pairs; NaN for a single sentence
  double retrieval = 0;         ///< share of the sentences whose nearest one, by cosine, is the one that says the same
};

/// One for each language but the first. states_KND [languages, sentences, width].
std::vector<Similarity> similarities(const at::Tensor& states_KND);

}  // namespace layalign::trainer
