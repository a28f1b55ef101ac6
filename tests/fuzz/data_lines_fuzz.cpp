#include <iterator>

#include "data/error.h"
#include "data/evaluation_task.h"
#include "data/text_corpus.h"
#include "data/token_ids.h"
#include "data/utf8.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;

namespace {

using Input = std::string_view;
using Read = void (*)(const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem);

void read_corpus(const char* format, const std::filesystem::path& root, const std::filesystem::path& path,
                 const data::ProblemHandler& on_problem) {
  configs::CorpusConfig config;
  config.format = format;
  const auto visit = [](const data::TextCorpus& corpus, const data::TextRow& row) {
    fuzz::require(!data::first_invalid_utf8(row.source) && !data::first_invalid_utf8(corpus.prompt(row)),
                  "rows are UTF-8");
    fuzz::require(row.line >= 1 && !corpus.origin(row).empty(), "rows know their lines");
  };
  data::visit_text_corpus(config, root, path, visit, on_problem);
}

template <data::EvaluationTask kTask>
void read_questions(const char* file, const fuzz::ScratchFolder& folder, Input input,
                    const data::ProblemHandler& on_problem) {
  folder.write(std::filesystem::path("evaluation") / file, input);
  for (const auto& item : data::read_evaluation(kTask, folder.path(), {}, std::nullopt, on_problem)) {
    fuzz::require(!data::first_invalid_utf8(item.prompt), "questions are UTF-8");
  }
}

constexpr Read kReaders[] = {
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      read_corpus("jsonl", {}, folder.write("rows.jsonl", input), on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      folder.write("query_translation/metamath_615k.json", input);
      read_corpus("metamath", folder.path(), {}, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      folder.write("query_translation/xnli_dev.json", input);
      read_corpus("xnli", folder.path(), {}, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      const auto sides = fuzz::parts_of(input, 2);
      folder.write("bilingual_pairs/en-sw/train_100k.sw", sides[0]);
      folder.write("bilingual_pairs/en-sw/train_100k.en", sides[1]);
      read_corpus("bilingual_pairs", folder.path(), {}, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler&) {
      data::read_token_id_prompts(folder.write("ids.jsonl", input), {.encoder_size = 100, .llm_size = 50});
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      read_questions<data::EvaluationTask::kMgsm>("mgsm/mgsm_en.tsv", folder, input, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      read_questions<data::EvaluationTask::kMsvamp>("msvamp/test_English.jsonl", folder, input, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      read_questions<data::EvaluationTask::kXCsqa>("x-csqa/en/dev.jsonl", folder, input, on_problem);
    },
    [](const fuzz::ScratchFolder& folder, Input input, const data::ProblemHandler& on_problem) {
      read_questions<data::EvaluationTask::kXnli>("xnli/test.json", folder, input, on_problem);
    },
};

}  // namespace

/// The first byte chooses the format, and whether reading goes on behind problems.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const fuzz::ScratchFolder folder;
  Input input = fuzz::text_of(bytes, size);
  const size_t choice = fuzz::take_choice(input, 2 * std::size(kReaders));
  size_t problems = 0;
  const auto count = [&](const std::filesystem::path&, const data::DataError&) { ++problems; };
  fuzz::accepts<data::DataError>(
      [&] { kReaders[choice / 2](folder, input, choice % 2 == 0 ? data::ProblemHandler() : count); });
  return 0;
}
