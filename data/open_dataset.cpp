#include "data/open_dataset.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>

#include "checkpoints_tools/hash.h"
#include "configs/paths.h"
#include "data/error.h"
#include "data/text_corpus.h"
#include "data/text_file.h"
#include "data/token_ids.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

/// Text rows that become ids when they are asked for.
class TokenizedCorpus : public Dataset {
 public:
  TokenizedCorpus(TextCorpus corpus, const configs::StageConfig& stage, const Vocabulary& vocabulary)
      : corpus_(std::move(corpus)), stage_(stage), vocabulary_(vocabulary) {}

  int64_t size() const override { return static_cast<int64_t>(corpus_.rows.size()); }
  const std::string& language(int64_t index) const override { return corpus_.languages[corpus_.rows[index].language]; }
  std::string group(int64_t index) const override { return TextCorpus::group(corpus_.rows[index], index); }

  int64_t longest_source() const override { return stage_.max_source_tokens; }

  std::string fingerprint() const override {
    checkpoints_tools::Xxh3 hash;
    for (const auto& row : corpus_.rows) {
      for (const std::string& text : {row.source, row.target, row.prompt.value_or(""), row.group, corpus_.languages[row.language]}) {
        hash.update(text);
        hash.update(std::string_view("\0", 1));
      }
    }
    return hash.hex();
  }

  Sample get(int64_t index) const override {
    const auto& row = corpus_.rows[index];
    Sample sample;
    sample.source = encode_source(*vocabulary_.encoder, row.source, language(index), stage_.max_source_tokens);
    if (stage_.prompt) sample.prompt = encode_prompt(*vocabulary_.llm, corpus_.prompt(row), stage_.max_target_tokens);
    sample.target = encode_target(*vocabulary_.llm, row.target, stage_.max_target_tokens, vocabulary_.llm_eos);
    sample.language = language(index);
    sample.origin = corpus_.origin(row);
    return sample;
  }

 private:
  TextCorpus corpus_;
  configs::StageConfig stage_;
  Vocabulary vocabulary_;
};

/// Samples that are ids already.
class TokenIdCorpus : public Dataset {
 public:
  TokenIdCorpus(const fs::path& path, const configs::StageConfig& stage, const Vocabulary& vocabulary) {
    for_each_jsonl(path, [&](const JsonRecord& record) {
      samples_.push_back(token_id_sample(record, stage, vocabulary));
      return true;
    });
    if (samples_.empty()) throw DataError(path.string() + ": the corpus is empty");
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  Sample get(int64_t index) const override { return samples_[index]; }
  const std::string& language(int64_t) const override { return kLanguage; }
  std::string group(int64_t index) const override { return group_of_row(index); }
  int64_t longest_source() const override {
    size_t longest = 0;
    for (const auto& sample : samples_) longest = std::max(longest, sample.source.size());
    return static_cast<int64_t>(longest);
  }
  std::string fingerprint() const override {
    checkpoints_tools::Xxh3 hash;
    for (const auto& sample : samples_) {
      for (const auto* ids : {&sample.source, &sample.prompt, &sample.target}) {
        const int64_t count = static_cast<int64_t>(ids->size());
        hash.update(std::as_bytes(std::span(&count, 1)));
        hash.update(std::as_bytes(std::span(*ids)));
      }
    }
    return hash.hex();
  }

 private:
  inline static const std::string kLanguage = kTokenIdLanguage;
  std::vector<Sample> samples_;
};

/// corpus.path: absolute, else under data.root, else beside the config file.
fs::path resolve_corpus(const std::string& path, const std::optional<fs::path>& root, const fs::path& config_folder) {
  std::vector<fs::path> places;
  if (fs::path(path).is_absolute()) places.push_back(path);
  else {
    if (root) places.push_back(*root / path);
    places.push_back(config_folder / path);
  }
  std::string tried;
  for (const auto& place : places) {
    if (fs::exists(place)) return place;
    tried += (tried.empty() ? "" : ", ") + place.string();
  }
  throw DataError("corpus.path: no such file: " + tried);
}

}  // namespace

CorpusPlace locate_corpus(const configs::CorpusConfig& corpus, const configs::DataConfig& data,
                          const fs::path& config_folder) {
  std::optional<fs::path> root;
  if (data.root) root = configs::resolve_path(*data.root, config_folder);
  CorpusPlace place{root.value_or(""), {}};
  if (corpus.path)
    place.path = resolve_corpus(*corpus.path, root, config_folder);
  else if (corpus.format == "msvamp")
    place.path = place.root / "evaluation/msvamp";
  return place;
}

std::unique_ptr<Dataset> open_dataset(const configs::StageConfig& stage, const configs::DataConfig& data,
                                      const fs::path& config_folder, const Vocabulary& vocabulary) {
  const auto [root, path] = locate_corpus(stage.corpus, data, config_folder);
  if (stage.corpus.format == "token_ids") return std::make_unique<TokenIdCorpus>(path, stage, vocabulary);
  return std::make_unique<TokenizedCorpus>(read_text_corpus(stage.corpus, root, path), stage, vocabulary);
}

}  // namespace layalign::data
