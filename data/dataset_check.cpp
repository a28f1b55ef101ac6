#include "data/dataset_check.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <string_view>
#include <unordered_set>

#include "checkpoints_tools/hash.h"
#include "configs/languages.h"
#include "data/text_corpus.h"
#include "data/token_ids.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPlacesKept = 3;
constexpr size_t kTextsAtOnce = 4096;
constexpr int64_t kUncut = std::numeric_limits<int32_t>::max();

uint64_t hash_of(const std::string& text) { return checkpoints_tools::xxh3_64(std::as_bytes(std::span(text))); }

bool is_space(char c) { return std::string_view(" \t\r\n\v\f").find(c) != std::string_view::npos; }

bool is_blank(const std::string& text) { return std::all_of(text.begin(), text.end(), is_space); }

/// What a question says: lower case (of ASCII), a blank for each piece of white space, none around.
std::string plain(const std::string& text) {
  std::string result;
  bool gap = false;
  for (const char c : text) {
    if (is_space(c)) {
      gap = !result.empty();
      continue;
    }
    if (gap) result += ' ';
    gap = false;
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return result;
}

/// A sample as text; the prompt is empty where the LLM reads none.
struct SampleText {
  std::string language, source, prompt, target, group, origin;
  fs::path file;
};

/// Takes samples one by one and gathers what they are.
class Gatherer {
 public:
  Gatherer(const configs::StageConfig& stage, const Vocabulary& vocabulary, bool is_corpus,
           const QuestionIndex* questions, const ProblemHandler& on_problem)
      : vocabulary_(vocabulary), is_corpus_(is_corpus), questions_(questions), on_problem_(on_problem) {
    facts_.source.limit = stage.max_source_tokens;
    facts_.prompt.limit = facts_.target.limit = stage.max_target_tokens;
  }

  void add(SampleText sample) {
    count(sample.language);
    facts_.groups.push_back(sample.group);
    if (is_blank(sample.source)) facts_.empty_sources.add(sample.origin);
    if (is_corpus_ && is_blank(sample.target)) facts_.empty_targets.add(sample.origin);
    for (const auto* text : {&sample.source, &sample.target}) {
      if (text->find("\xEF\xBF\xBD") == std::string::npos) continue;
      facts_.damaged.add(sample.origin);
      break;
    }
    find_repeat(sample);
    find_question(sample);
    look_at_language(sample);
    if (!vocabulary_.encoder) return;
    waiting_.push_back(std::move(sample));
    if (waiting_.size() == kTextsAtOnce) measure();
  }

  /// A sample of ids, whose lengths are known.
  void add(const Sample& sample) {
    count(sample.language);
    facts_.groups.push_back(group_of_row(static_cast<int64_t>(facts_.groups.size())));
    facts_.source.tokens.push_back(static_cast<int32_t>(sample.source.size()));
    if (!sample.prompt.empty()) facts_.prompt.tokens.push_back(static_cast<int32_t>(sample.prompt.size()));
    facts_.target.tokens.push_back(static_cast<int32_t>(sample.target.size()));
  }

  bool is_empty() const { return facts_.size() == 0; }

  DatasetFacts finish() {
    measure();
    return std::move(facts_);
  }

 private:
  void count(const std::string& language) {
    const auto found = std::find(facts_.languages.begin(), facts_.languages.end(), language);
    const auto index = found - facts_.languages.begin();
    if (found == facts_.languages.end()) {
      facts_.languages.push_back(language);
      facts_.samples.push_back(0);
    }
    ++facts_.samples[index];
  }

  void find_repeat(const SampleText& sample) {
    std::string whole;
    for (const auto* text : {&sample.language, &sample.source, &sample.prompt, &sample.target})
      (whole += *text) += '\0';
    if (!seen_.insert(hash_of(whole)).second) facts_.repeated.add(sample.origin);
  }

  void find_question(const SampleText& sample) {
    if (questions_ == nullptr) return;
    for (const auto* text : {&sample.source, &sample.target}) {
      if (const auto* place = questions_->find(*text))
        return facts_.test_questions.add(sample.origin + " is " + *place);
    }
  }

  /// Tells of a language that nobody knows, or that the encoder's tokenizer lacks: once.
  void look_at_language(const SampleText& sample) {
    if (!languages_.insert(sample.language).second) return;
    const bool is_known = configs::language_code(sample.language).has_value() || sample.language == "unknown";
    if (!is_known) facts_.unknown.add(sample.language + " at " + sample.origin);
    const bool fits = go_on_after(sample.file, on_problem_, [&] {
      if (!vocabulary_.encoder) return;
      try {
        vocabulary_.encoder->frame(sample.language);
      } catch (const DataError& error) {
        throw DataError(sample.origin + ": " + error.what());
      }
    });
    if (!fits) strange_.insert(sample.language);
  }

  /// Counts the tokens of the texts that wait, on all threads.
  void measure() {
    const auto count = static_cast<int64_t>(waiting_.size());
    std::vector<int32_t> source(count, -1), prompt(count), target(count);
    at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto& text = waiting_[i];
        const auto tokens = [](const std::vector<int64_t>& ids) { return static_cast<int32_t>(ids.size()); };
        if (!strange_.contains(text.language)) {
          source[i] = tokens(encode_source(*vocabulary_.encoder, text.source, text.language, kUncut));
        }
        prompt[i] = tokens(vocabulary_.llm->encode(text.prompt));
        target[i] = tokens(vocabulary_.llm->encode(text.target)) + 1;  // eos
      }
    });
    for (int64_t i = 0; i < count; ++i) {
      if (source[i] >= 0) facts_.source.tokens.push_back(source[i]);
      if (!waiting_[i].prompt.empty()) facts_.prompt.tokens.push_back(prompt[i]);
      if (is_corpus_) facts_.target.tokens.push_back(target[i]);
    }
    waiting_.clear();
  }

  const Vocabulary& vocabulary_;
  const bool is_corpus_;
  const QuestionIndex* questions_;
  const ProblemHandler& on_problem_;
  DatasetFacts facts_;
  std::unordered_set<uint64_t> seen_;          // hashes of the samples' texts
  std::set<std::string> languages_, strange_;  // met; met and refused by the encoder's tokenizer
  std::vector<SampleText> waiting_;
};

}  // namespace

void Finding::add(const std::string& place) {
  ++count;
  if (places.size() < kPlacesKept) places.push_back(place);
}

int64_t Lengths::cut() const {
  return std::count_if(tokens.begin(), tokens.end(), [&](int32_t length) { return length > limit; });
}

int32_t Lengths::quantile(double share) const {
  if (tokens.empty()) return 0;
  std::vector<int32_t> sorted = tokens;
  const auto rank = static_cast<int64_t>(std::ceil(share * static_cast<double>(sorted.size()))) - 1;
  const auto at = sorted.begin() + std::clamp<int64_t>(rank, 0, static_cast<int64_t>(sorted.size()) - 1);
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

void QuestionIndex::add(const std::vector<EvaluationItem>& items) {
  for (const auto& item : items) places_.try_emplace(hash_of(plain(item.source)), item.origin);
}

const std::string* QuestionIndex::find(const std::string& text) const {
  if (places_.empty()) return nullptr;
  const auto found = places_.find(hash_of(plain(text)));
  return found == places_.end() ? nullptr : &found->second;
}

DatasetFacts check_corpus(const configs::StageConfig& stage, const configs::DataConfig& data,
                          const fs::path& config_folder, const Vocabulary& vocabulary, const QuestionIndex& questions,
                          const ProblemHandler& on_problem) {
  Gatherer gatherer(stage, vocabulary, /*is_corpus=*/true, &questions, on_problem);
  CorpusPlace place;
  if (!go_on_after(stage.corpus.path.value_or(""), on_problem,
                   [&] { place = locate_corpus(stage.corpus, data, config_folder); })) {
    return gatherer.finish();
  }
  std::vector<std::string> files = {place.path.string()};
  if (stage.corpus.format == "token_ids") {
    const auto add = [&](const JsonRecord& record) {
      return gatherer.add(token_id_sample(record, stage, vocabulary)), true;
    };
    for_each_jsonl(place.path, add, on_problem);
    if (gatherer.is_empty()) {
      go_on_after(place.path, on_problem, [&] { throw DataError(place.path.string() + ": the corpus is empty"); });
    }
  } else {
    int64_t index = 0;
    const auto add = [&](const TextCorpus& corpus, TextRow row) {
      gatherer.add({corpus.languages[row.language], row.source, stage.prompt ? corpus.prompt(row) : "", row.target,
                    TextCorpus::group(row, index++), corpus.origin(row), corpus.files[row.file]});
    };
    files = visit_text_corpus(stage.corpus, place.root, place.path, add, on_problem).files;
  }
  auto facts = gatherer.finish();
  facts.files = std::move(files);
  return facts;
}

DatasetFacts check_questions(const std::vector<EvaluationItem>& items, const configs::StageConfig& stage,
                             const Vocabulary& vocabulary, const ProblemHandler& on_problem) {
  Gatherer gatherer(stage, vocabulary, /*is_corpus=*/false, nullptr, on_problem);
  std::vector<std::string> files;
  for (const auto& item : items) {
    const std::string file = item.origin.substr(0, item.origin.find_last_of(':'));
    if (files.empty() || files.back() != file) files.push_back(file);
    gatherer.add({item.language, item.source, stage.prompt ? item.prompt : "", item.answer, "", item.origin, file});
  }
  auto facts = gatherer.finish();
  facts.files = std::move(files);
  return facts;
}

}  // namespace layalign::data
