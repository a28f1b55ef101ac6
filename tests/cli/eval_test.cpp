// layalign-eval on benchmarks, as a user runs it.
#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <sstream>

#include "tests/cli/evaluation_run.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

TEST_F(Evaluation, TrainingHasScoredTheBenchmarkAndKeptTheBest) {
  const auto lines = read_jsonl(work->path("run") / "evaluations.jsonl");
  ASSERT_EQ(lines.size(), 2u);  // benchmark and perplexity at the end of the stage
  EXPECT_EQ(lines[0].at("task"), "msvamp");
  EXPECT_EQ(lines[0].at("questions"), 4);
  EXPECT_TRUE(lines[0].at("language_accuracy").contains("Thai"));
  EXPECT_TRUE(lines[1].contains("perplexity"));
  EXPECT_TRUE(fs::exists(work->path("run") / "1-task/best.safetensors"));
}

TEST_F(Evaluation, RanksWhoseQuestionsDifferAreRefused) {
  auto changed = config();
  changed["data"]["root"] = "data";
  changed["eval"].update({{"tasks", {"mgsm"}}, {"languages", {"English", "Thai"}}});
  changed["eval"].erase("limit");
  std::string ranks;
  for (const std::string name : {"node-a", "node-b"}) {
    fs::create_directories(work->path(name) / "data");
    fs::copy(LAYALIGN_TEST_DATA "/evaluation", work->path(name) / "data/evaluation", fs::copy_options::recursive);
    work->write(name + "/run.json", changed.dump());
    ranks += (ranks.empty() ? "" : " : ") + std::string("-n 1 --wdir ") + out(name) + " " LAYALIGN_BINARY_DIR "/layalign-train run.json --set output=" +
             out("refused");
  }
  const auto questions = work->path("node-b") / "data/evaluation/mgsm/mgsm_th.tsv";
  fs::resize_file(questions, read_file(questions).rfind('\n', fs::file_size(questions) - 2) + 1);
  const auto outcome = run_command("cd " LAYALIGN_SOURCE_DIR " && tests/mpirun.sh " + ranks);
  EXPECT_EQ(outcome.code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("questions of mgsm"));
  EXPECT_FALSE(fs::exists(work->path("refused")));
}

TEST_F(Evaluation, ScoresModesSideBySideAndDoesNotRepeatWork) {
  const std::string arguments =
      "--task msvamp,mgsm,x_csqa,xnli,perplexity --limit 1 --max-new-tokens 4 --compare llm,mapping,layalign "
      "--output " +
      out("all");
  const auto first = run(arguments);
  ASSERT_EQ(first.code, 0) << first.output;
  for (const char* text : {"msvamp: accuracy in percent", "mgsm:", "x_csqa:", "xnli:", "perplexity", "low-resource",
                           "high-resource", "average"}) {
    EXPECT_THAT(first.output, HasSubstr(text));
  }
  EXPECT_TRUE(fs::exists(work->path("all") / "layalign/mgsm/scores.tsv"));
  EXPECT_TRUE(fs::exists(work->path("all") / "llm/msvamp/Thai.json"));
  const auto outputs = read_jsonl(work->path("all") / "outputs.jsonl");
  // 3 languages of MSVAMP, 4 of MGSM, 2 of X-CSQA, 3 of XNLI, by three modes, after the line of the identity.
  EXPECT_EQ(outputs.size(), 1u + 3 * (3 + 4 + 2 + 3));

  // Interrupted in the middle of a line: what is whole is not generated again.
  const auto path = work->path("all") / "outputs.jsonl";
  const std::string whole = read_file(path);
  fs::resize_file(path, whole.size() - 10);
  const auto second = run(arguments);
  ASSERT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("2 of 3 questions were answered before"));
  EXPECT_EQ(read_jsonl(path).size(), outputs.size());

  // The last of an option counts.
  expect_refused(arguments + " --max-new-tokens 5", 2, "max_new_tokens: 4 there, 5 here");
}

/// The texts of outputs.jsonl by language and index.
std::map<std::string, std::string> texts_in(const fs::path& folder) {
  std::map<std::string, std::string> found;
  for (const auto& line : read_jsonl(folder / "outputs.jsonl")) {
    if (line.contains("index"))
      found[line.at("language").get<std::string>() + line.at("index").dump()] = line.at("text");
  }
  return found;
}

TEST_F(Evaluation, AChangedQuestionIsAskedAgain) {
  fs::create_directories(work->path("data/evaluation"));
  fs::copy(fs::path(LAYALIGN_TEST_DATA) / "evaluation/mgsm", work->path("data/evaluation/mgsm"));
  const std::string arguments = "--task mgsm --languages English,Thai --limit 2 --max-new-tokens 4 --output " +
                                out("changed") + " --set data.root=" + out("data");
  const auto first = run(arguments);
  ASSERT_EQ(first.code, 0) << first.output;
  replace_in_file(work->path("data/evaluation/mgsm/mgsm_en.tsv"), "A robe takes 2 bolts", "A coat takes 5 bolts");
  const auto second = run(arguments);
  ASSERT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("3 of 4 questions were answered before"));
  const auto lines = read_jsonl(work->path("changed") / "outputs.jsonl");
  ASSERT_EQ(lines.size(), 1u + 4 + 1);
  EXPECT_EQ(lines[5].at("language"), "English");
  EXPECT_EQ(lines[5].at("index"), 1);
  const auto records = json::parse(read_file(work->path("changed") / "layalign/mgsm/English.json"));
  EXPECT_THAT(records[1].at("question").get<std::string>(), HasSubstr("A coat takes 5 bolts"));
  EXPECT_EQ(records[1].at("output"), lines[5].at("text"));
}

TEST_F(Evaluation, EveryAnswerHasItsShareOfTheTime) {
  for (int ranks : {1, 2}) {
    const std::string name = "time-" + std::to_string(ranks);
    const auto start = std::chrono::steady_clock::now();
    const auto outcome = run("--task msvamp --limit 3 --max-new-tokens 8 --batch 2 --output " + out(name), ranks);
    const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    std::vector<double> token_s;
    double sum_s = 0;
    for (const auto& line : read_jsonl(work->path(name) / "outputs.jsonl")) {
      if (!line.contains("index")) continue;
      sum_s += line.at("generation_s").get<double>();
      token_s.push_back(line.at("generation_s").get<double>() / line.at("tokens").get<double>());
    }
    ASSERT_EQ(token_s.size(), 9u);
    EXPECT_LT(sum_s, wall_s);
    // Alike, but for a machine that does something else meanwhile: none is free.
    const double mean_s = std::accumulate(token_s.begin(), token_s.end(), 0.0) / 9;
    EXPECT_GT(*std::min_element(token_s.begin(), token_s.end()), mean_s / 50) << ranks;
  }
}

TEST_F(Evaluation, IsTheSameOnAnyGrid) {
  const std::string arguments = "--task msvamp --limit 3 --max-new-tokens 8 --output ";
  std::vector<std::map<std::string, std::string>> texts;
  for (const auto& [ranks, tensor] : std::vector<std::pair<int, int>>{{1, 1}, {2, 2}, {2, 1}}) {
    const std::string name = "grid-" + std::to_string(ranks) + "-" + std::to_string(tensor);
    const auto outcome =
        run(arguments + out(name) + " --batch 2 --set parallel.tensor=" + std::to_string(tensor), ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    texts.push_back(texts_in(work->path(name)));
    EXPECT_EQ(texts.back().size(), 9u);
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_EQ(texts[0], texts[2]);
}

TEST_F(Evaluation, ReadsTheEncodersStatesFromACache) {
  const std::string cache = " --set cache.path=" + out("cache");
  const auto built = run_program("layalign-cache", 1, "build " + config_path + cache);
  ASSERT_EQ(built.code, 0) << built.output;
  const std::string arguments = "--task msvamp,perplexity --limit 2 --languages English,Thai --output ";
  const auto online = run(arguments + out("online")), cached = run(arguments + out("cached") + " --set cache.mode=read" + cache, 2);
  ASSERT_EQ(online.code, 0) << online.output;
  ASSERT_EQ(cached.code, 0) << cached.output;
  EXPECT_THAT(cached.output, HasSubstr("shards of " + out("cache")));
  EXPECT_EQ(texts_in(work->path("cached")), texts_in(work->path("online")));
}

TEST_F(Evaluation, DrawsDependOnTheSeedAlone) {
  const std::string arguments = "--task msvamp --limit 3 --max-new-tokens 8 --temperature 1 --top-p 0.9 --output ";
  const auto text = [&](const std::string& name, const std::string& more, int ranks) {
    const auto outcome = run(arguments + out(name) + more, ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    return texts_in(work->path(name));
  };
  const auto alone = text("draw-1", " --seed 3 --batch 1", 1);
  EXPECT_EQ(alone, text("draw-2", " --seed 3 --batch 4", 2));
  EXPECT_NE(alone, text("draw-3", " --seed 4 --batch 4", 1));

  // Of an interrupted evaluation the other questions are drawn as before, in whatever company.
  const auto path = work->path("draw-1") / "outputs.jsonl";
  const std::string whole = read_file(path);
  size_t end_of_identity = whole.find('\n') + 1, kept = end_of_identity;
  for (int i = 0; i < 5; ++i) kept = whole.find('\n', kept) + 1;
  std::ofstream(path) << whole.substr(0, end_of_identity) << whole.substr(kept);  // without the first five answers
  EXPECT_EQ(alone, text("draw-1", " --seed 3 --batch 3", 1));
}

TEST_F(Evaluation, PerplexityTakesLanguagesAndALimit) {
  const auto rows = [](const std::string& output) {  // language -> label tokens
    std::map<std::string, int64_t> found;
    std::istringstream lines(output.substr(output.find("perplexity, layalign")));
    std::string line, name;
    double perplexity = 0;
    int64_t tokens = 0;
    for (std::getline(lines, line), std::getline(lines, line); std::getline(lines, line);) {
      if (std::istringstream(line) >> name >> perplexity >> tokens) found[name] = tokens;
    }
    return found;
  };
  const auto all = run("--task perplexity --output " + out("perplexity"));
  ASSERT_EQ(all.code, 0) << all.output;
  const auto tokens = rows(all.output);
  ASSERT_GT(tokens.size(), 1u) << all.output;
  int64_t sum = 0;
  for (const auto& [language, count] : tokens) {
    EXPECT_GT(count, 0) << language;
    if (language != "all") sum += count;
  }
  EXPECT_EQ(sum, tokens.at("all"));
  const std::string first = tokens.begin()->first;
  const auto one = run("--task perplexity --limit 1 --languages " + first + " --output " + out("perplexity"));
  ASSERT_EQ(one.code, 0) << one.output;
  EXPECT_EQ(rows(one.output).size(), 2u) << one.output;
  EXPECT_LE(rows(one.output).at(first), tokens.at(first));
  expect_refused("--task perplexity --languages Klingon", 65, "there are ");
  expect_refused("--task perplexity --compare llm --output " + out("none"), 2, "compare mapping or layalign");
  EXPECT_FALSE(fs::exists(work->path("none")));
}

TEST_F(Evaluation, TheBestStepIsThatOfTheRule) {
  // The held-out perplexity falls with each step; all accuracies are 0, so the first is the best.
  auto changed = config();
  changed["stages"][0].update({{"max_steps", 3}, {"eval_every", 1}, {"lr", 1e-3}});
  changed["eval"].update({{"every", 1}, {"max_new_tokens", 1}});
  changed["checkpoint"] = {{"every", 1}, {"keep", 3}};
  for (const auto& [rule, step] : std::map<std::string, int>{{"accuracy", 1}, {"perplexity", 3}}) {
    changed["output"] = out("best-" + rule);
    changed["eval"]["best"] = rule;
    const auto outcome = train(1, work->write("best.json", changed.dump()).string());
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    std::vector<double> perplexities, accuracies;
    for (const auto& line : read_jsonl(work->path("best-" + rule) / "evaluations.jsonl")) {
      if (line.contains("perplexity"))
        perplexities.push_back(line.at("perplexity"));
      else
        accuracies.push_back(line.at("accuracy"));
    }
    ASSERT_EQ(perplexities.size(), 3u);
    ASSERT_GT(perplexities[1], perplexities[2]);
    ASSERT_EQ(accuracies, std::vector<double>(3, accuracies[0]));
    const auto folder = work->path("best-" + rule) / "1-task";
    EXPECT_EQ(read_file(folder / "best.safetensors"),
              read_file(folder / ("step-0000000" + std::to_string(step)) / "trainables.safetensors"))
        << rule;
  }
}

TEST_F(Evaluation, ARunWithAnUnfinishedStageIsTold) {
  fs::copy(work->path("run"), work->path("unfinished"), fs::copy_options::recursive);
  fs::create_directory(work->path("unfinished/2-more"));
  const auto outcome =
      run("--task mgsm --limit 1 --max-new-tokens 1 --checkpoint " + out("unfinished") + " --output " + out("told"));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("trained weights: " + out("unfinished/1-task/trainables.safetensors")));
  EXPECT_THAT(outcome.output, HasSubstr("stage 2-more of this run has not ended"));
}

TEST_F(Evaluation, SourcesLongerThanTheEncoderReadsAreRefusedBeforeItIsRead) {
  const auto encoder = work->copy_model("xlmr");
  fs::remove(encoder / "model.safetensors");
  expect_refused("--task mgsm --set model.encoder=" + encoder.string(), 65, "Lower max_source_tokens");
}

/// The similarities of a mode: layer, language, number.
json similarities_in(const fs::path& folder, const std::string& file = "layalign/representations.json") {
  return json::parse(read_file(folder / file)).at("layers");
}

TEST_F(Evaluation, RepresentationsAreThoseOfAnyGridAndBatch) {
  const std::string arguments = "--task representations --limit 4 --output ";
  const auto outcome = run(arguments + out("representations"));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("retrieval of the English sentence in percent: layalign"));
  const auto expected = similarities_in(work->path("representations"));
  EXPECT_EQ(expected.size(), 5u + 1 + 6);  // hidden_states[0..4] of the encoder, mapped, the LLM's input and five layers
  for (const std::string more : {"-tp --set parallel.tensor=2 --batch 1", "-dp --batch 3"}) {
    const auto other = run(arguments + out("representations") + more, 2);
    ASSERT_EQ(other.code, 0) << other.output;
    const auto found = similarities_in(work->path("representations" + more.substr(0, 3)));
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [layer, languages] : expected.items()) {
      ASSERT_EQ(languages.size(), 2u);
      for (const auto& [language, numbers] : languages.items()) {
        for (const char* number : {"cosine", "unrelated_cosine"}) {
          // Cosines of float32 states whose sums are regrouped.
          EXPECT_NEAR(found.at(layer).at(language).at(number).get<double>(), numbers.at(number).get<double>(), 1e-5)
              << layer << " " << language << more;
        }
      }
    }
  }
  EXPECT_TRUE(fs::exists(work->path("representations") / "layalign/representations.h5"));
  EXPECT_FALSE(fs::exists(work->path("representations") / "layalign/representations.h5.tmp"));
}

TEST_F(Evaluation, RepresentationsOfEveryModeAndOfUntrainedWeights) {
  const std::string arguments =
      "--task representations --languages Thai --limit 2 --output " + out("modes") + " --compare llm,mapping,layalign";
  auto outcome = run(arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = run(arguments + " --untrained");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const fs::path folder = work->path("modes");
  const auto llm = similarities_in(folder, "llm/representations.json");
  EXPECT_EQ(llm.size(), 6u);  // it reads no encoder
  EXPECT_EQ(llm, similarities_in(folder, "llm/representations_untrained.json"));
  const auto mapping = similarities_in(folder, "mapping/representations.json"), layalign = similarities_in(folder);
  const auto untrained = similarities_in(folder, "layalign/representations_untrained.json");
  for (const auto& [layer, languages] : layalign.items()) {
    EXPECT_EQ(languages.size(), 1u);
    const bool is_llm_layer = layer.starts_with("llm.") && layer != "llm.0";
    EXPECT_EQ(mapping.at(layer) == languages, !is_llm_layer) << layer;  // the fusion is in the LLM's layers alone
    EXPECT_EQ(untrained.at(layer) == languages, layer.starts_with("encoder.")) << layer;
  }
}

TEST_F(Evaluation, MistakesAreNamed) {
  expect_refused("--task representations,msvamp", 2, "representations goes alone");
  expect_refused("--task msvamp --untrained", 2, "--untrained belongs to the task representations");
  expect_refused("--task representations --untrained --checkpoint x", 2, "--untrained takes no --checkpoint");
  expect_refused("--task representations --languages English", 65, "English and of another language are compared");
  expect_refused("--task representations --set data.root=/nowhere", 65, "/nowhere");
  expect_refused("--task mgms", 2, "mgms");
  expect_refused("", 2, "--task");
  expect_refused("--task text,mgsm", 2, "go alone");
  expect_refused("--task mgsm,mgsm", 2, "mgsm is there twice");
  expect_refused("--task mgsm --compare llm,llm", 2, "llm is there twice");
  expect_refused("--task text --limit 3", 2, "answers every line");
  expect_refused("--task text --output x", 2, "prints its answers");
  expect_refused("--task text --compare llm,layalign", 2, "one way to answer");
  expect_refused("--task text --languages English,Thai", 2, "takes one");
  expect_refused("--task text --languages Klingon", 2, "unknown language 'Klingon'");
  expect_refused("--task text --set stages.0.corpus.task=translation", 2, "give --languages NAME");
  expect_refused("--task token_ids --input x --output x --languages English", 2, "have no language");
  expect_refused("--task token_ids --input x --output x --limit 3", 2, "answers every line");
  expect_refused("--task token_ids --output x", 2, "--input");
  expect_refused("--task mgsm --compare llama", 2, "llama");
  expect_refused("--task mgsm --languages Klingon", 65, "Klingon");
  expect_refused("--task mgsm --set data.root=/nowhere", 65, "/nowhere");
  expect_refused("--task mgsm --checkpoint /nowhere.safetensors", 65, "/nowhere.safetensors");
  expect_refused("--task mgsm --set model.gate=dynamic", 65, "gates.weight");

  // A broken test file, found before anything is written.
  fs::create_directories(work->path("broken/evaluation/mgsm"));
  std::ofstream(work->path("broken/evaluation/mgsm/mgsm_en.tsv")) << "Question one\t7\nQuestion without an answer\n";
  expect_refused("--task mgsm --output " + out("none") + " --set data.root=" + out("broken"), 65, "mgsm_en.tsv:2");
  EXPECT_FALSE(fs::exists(work->path("none")));
  expect_refused("--task token_ids --output " + out("none") + " --input " +
                     work->write("ids.jsonl", "{\"source\": [5]}\n{\"source\": [\"a\"]}\n").string(),
                 65, "ids.jsonl:2");
  EXPECT_FALSE(fs::exists(work->path("none")));
}

}  // namespace
}  // namespace layalign::test
