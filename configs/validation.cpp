#include "configs/validation.h"

#include <algorithm>
#include <map>
#include <vector>

#include "configs/fields.h"
#include "configs/languages.h"
#include "configs/spelling.h"

namespace layalign::configs {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

void check_languages(const std::vector<std::string>& languages, const std::string& key, Report& report) {
  std::vector<std::string_view> names;
  for (const Language& language : kLanguages) names.push_back(language.name);
  for (const std::string& name : languages) {
    if (language_code(name)) continue;
    const std::string hint = suggestion(name, names);
    report.add(key, "'" + key + "': unknown language '" + name + "'" +
                        (hint.empty() ? "; the languages are " + joined(names) : hint));
  }
}

void check_token_ids(const CorpusConfig& corpus, const std::string& key, Report& report) {
  if (!corpus.languages.empty()) {
    report.add(key + ".languages", "'" + key + ".languages': a token_ids corpus has no languages: remove the key");
  }
  if (corpus.train_num) {
    report.add(key + ".train_num", "'" + key +
                                       ".train_num': counts rows of a language, and a token_ids corpus has no "
                                       "languages: remove the key and shorten the file");
  }
}

void check_corpus(const RunConfig& config, const CorpusConfig& corpus, const std::string& key, Report& report) {
  if (corpus.format.empty()) return;  // missing or wrong, and reported
  const bool own_file = corpus.format == "jsonl" || corpus.format == "token_ids";
  const bool has_path = corpus.path || report.is_faulty(key + ".path");
  const bool has_root = config.data.root || report.is_faulty("data.root") || report.is_faulty("data");
  if (own_file && !has_path) {
    report.add(key + ".path", "missing required key '" + key + ".path': the file of a " + corpus.format + " corpus");
  }
  if (has_path && !own_file && corpus.format != "msvamp") {
    report.add(key + ".path", "'" + key + ".path': a " + corpus.format +
                                  " corpus lies at its place under data.root: remove the key and set data.root");
  }
  if (!own_file && !has_path && !has_root) {
    report.add("data.root", "missing required key 'data.root': the " + corpus.format + " corpus of '" + key +
                                "' lies under it" + (corpus.format == "msvamp" ? " (or set corpus.path)" : ""));
  }
  if (corpus.task != "answer" && corpus.format != "msvamp") {
    report.add(key + ".task", "'" + key + ".task': only an msvamp corpus has tasks: remove the key");
  }
  if (corpus.format == "token_ids") {
    check_token_ids(corpus, key, report);
  } else if (corpus.format != "jsonl") {
    check_languages(corpus.languages, key + ".languages", report);
  }
}

void check_stage_names(const std::vector<StageConfig>& stages, Report& report) {
  std::map<std::string, std::string> first_key;
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string& name = stages[i].name;
    const std::string key = "stages." + std::to_string(i) + ".name";
    if (!std::ranges::all_of(name, is_name_character) || name == "." || name == "..") {
      report.add(key, "'" + key + "': '" + name + "' cannot be a file name: use letters, digits, '.', '_' and '-'");
    }
    if (const auto [first, is_new] = first_key.emplace(name, key); !is_new) {
      report.add(key, "'" + key + "': '" + name + "' is also '" + first->second + "': stage names must differ");
    }
  }
}

void check_model(const ModelConfig& model, Report& report) {
  if (model.aligner == "none" && model.mapping == "none") {
    report.add("model.mapping", "'model.mapping': with neither mapping nor aligner nothing is trained: set one of them");
  }
  if (model.aligner != "none") return;
  const auto unused = [&](const std::string& key) {
    report.add(key, "'" + key + "': has no meaning without an aligner (model.aligner: none): remove the key");
  };
  if (model.encoder_layers != ModelConfig{}.encoder_layers) unused("model.encoder_layers");
  if (model.language_layers != ModelConfig{}.language_layers) unused("model.language_layers");
  if (model.structure != ModelConfig{}.structure) unused("model.structure");
  if (model.gate != ModelConfig{}.gate) unused("model.gate");
}

void check_cache(const CacheConfig& cache, Report& report) {
  if (cache.mode != "off" && !cache.path) {
    report.add("cache.path", "missing required key 'cache.path': the folder of the cache, with 'cache.mode' " + cache.mode);
  }
}

void check_eval(const RunConfig& config, Report& report) {
  for (const auto& task : config.eval.tasks) {
    if (std::ranges::find(kEvalTasks, task) != kEvalTasks.end()) continue;
    const auto hint = suggestion(task, kEvalTasks);
    report.add("eval.tasks", "'eval.tasks': unknown task '" + task + "'" +
                                 (hint.empty() ? "; the tasks are " + joined(kEvalTasks) : hint));
  }
  check_languages(config.eval.languages, "eval.languages", report);
  if (!config.eval.tasks.empty() && !config.data.root) {
    report.add("data.root", "missing required key 'data.root': the test files of 'eval.tasks' lie under it (evaluation/)");
  }
  if (config.eval.best == "accuracy" && config.eval.tasks.empty()) {
    report.add("eval.best", "'eval.best': accuracy needs a task: set eval.tasks");
  }
}

}  // namespace

void validate(const RunConfig& config, Report& report) {
  if (config.parallel.sequence) {
    report.add("parallel.sequence", "'parallel.sequence': true is not available yet: set it to false");
  }
  if (config.parallel.device == "cpu" && config.comm.backend == "nccl") {
    report.add("comm.backend",
               "'comm.backend': nccl needs CUDA devices, and parallel.device is cpu: set it to auto or mpi");
  }
  check_model(config.model, report);
  check_cache(config.cache, report);
  check_eval(config, report);
  check_stage_names(config.stages, report);
  for (size_t i = 0; i < config.stages.size(); ++i) {
    check_corpus(config, config.stages[i].corpus, "stages." + std::to_string(i) + ".corpus", report);
  }
}

}  // namespace layalign::configs
