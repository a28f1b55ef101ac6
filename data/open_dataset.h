#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "configs/schema.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

namespace layalign::data {

/// What a dataset needs to know of the two models.
struct Vocabulary {
  std::shared_ptr<const Tokenizer> encoder, llm;  ///< null where no stage has text
  int64_t encoder_size = 0;                       ///< rows of the encoder's embedding
  int64_t llm_size = 0;                           ///< rows of the LLM's embedding
  int64_t llm_eos = 0;                            ///< the id that ends a target
};

/// Where a corpus lies.
struct CorpusPlace {
  std::filesystem::path root;  ///< data.root; empty where there is none
  std::filesystem::path path;  ///< of formats that have one
};

/// Errors: DataError for a missing file, with every place that was tried.
CorpusPlace locate_corpus(const configs::CorpusConfig& corpus, const configs::DataConfig& data,
                          const std::filesystem::path& config_folder);

/// Opens the corpus of a stage. Text is tokenised when a sample is asked for; ids are taken as they are.
/// `config_folder`: of the config file, for relative paths.
/// Errors: DataError with file and line; a missing file with every place that was tried.
std::unique_ptr<Dataset> open_dataset(const configs::StageConfig& stage, const configs::DataConfig& data,
                                      const std::filesystem::path& config_folder, const Vocabulary& vocabulary);

}  // namespace layalign::data
