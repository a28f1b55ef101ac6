// The report of a checkpoint for people.

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "trainer/checkpoint_report.h"
#include "trainer/progress.h"

namespace layalign::trainer {
namespace {

using Json = nlohmann::ordered_json;

/// Six significant digits; null is what is not finite.
std::string number(const Json& value) {
  if (value.is_null()) return "not finite";
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value.get<double>());
  return text.data();
}

std::string line(const std::string& name, const std::string& text) {
  return "  " + name + std::string(name.size() < 18 ? 18 - name.size() : 1, ' ') + text + "\n";
}

std::string joined(const Json& strings) {
  std::string text;
  for (const Json& value : strings) text += (text.empty() ? "" : ", ") + value.get<std::string>();
  return text;
}

std::string config_text(const Json& config) {
  if (config.contains("unreadable"))
    return "config: cannot be read\n  " + config["unreadable"].get<std::string>() + "\n";
  std::string text = "config\n";
  for (const char* key : {"encoder", "llm", "encoder_layers", "language_layers", "precision"}) {
    text += line(key, config[key].get<std::string>());
  }
  for (const Json& stage : config["stages"]) {
    std::string what = stage["corpus"].get<std::string>() + ", " + stage["epochs"].dump() + " epochs of batches of " +
                       stage["global_batch"].dump() + ", lr " + number(stage["lr"]);
    if (!stage["languages"].empty()) what += ", " + joined(stage["languages"]);
    text += line("stage " + stage["name"].get<std::string>(), what);
  }
  return text;
}

std::string stages_text(const Json& report) {
  std::string text = "stages\n";
  for (const Json& stage : report["stages"]) {
    std::string what = stage["finished"].get<bool>() ? "finished" : "not finished";
    if (stage["best"].get<bool>()) what += ", with the best weights";
    what += stage["checkpoints"].empty() ? ", no checkpoints" : "; " + joined(stage["checkpoints"]);
    text += line(stage["name"].get<std::string>(), what);
  }
  return text;
}

std::string unreadable_text(const Json& unreadable) {
  std::string text = "checkpoints that cannot be read\n";
  for (const Json& entry : unreadable) text += "  " + entry["problem"].get<std::string>() + "\n";
  return text;
}

std::string checkpoint_text(const Json& state) {
  std::string text = "checkpoint " + state["path"].get<std::string>() + "\n";
  text += line("position", "stage " + state["stage_number"].dump() + ", step " + state["step"].dump() + ", after " +
                               format_duration(state["elapsed_s"].get<double>()) + " of training");
  text += line("best perplexity", state["best_perplexity"].is_null() ? "none yet" : number(state["best_perplexity"]));
  if (!state["best_accuracy"].is_null()) text += line("best accuracy", number(state["best_accuracy"]));
  for (const auto& [name, norm] : state["norms"].items()) text += line("norm " + name, number(norm));
  text += line("grid", "ranks " + state["world_size"].dump() + ", tensor " + state["tp_size"].dump() +
                           ", threads of a rank " + state["threads"].dump());
  for (const auto& [name, value] : state["fingerprints"].items()) {
    const std::string hashes = value.is_array() ? joined(value) : value.get<std::string>();
    if (!hashes.empty()) text += line(name, hashes);
  }
  return text;
}

std::string gates_text(const Json& gates) {
  const bool dynamic = gates.contains("biases");
  const Json& values = gates[dynamic ? "biases" : "values"];
  std::string text = std::string(dynamic ? "biases of the dynamic gates" : "gates") + ": min " + number(gates["min"]) +
                     ", mean " + number(gates["mean"]) + ", max " + number(gates["max"]) + "\n";
  for (size_t i = 0; i < values.size(); ++i) {
    const bool known = !gates["layers"].is_null();
    const std::string name = known ? "LLM layer " + gates["layers"][i].dump() : "gate " + std::to_string(i);
    text += line(name, number(values[i]) + (dynamic ? "  norm of its weight " + number(gates["weight_norms"][i]) : ""));
  }
  return text;
}

std::string weights_text(const Json& weights) {
  std::string text = "weights " + weights["path"].get<std::string>() + "\n";
  std::string kinds;
  if (!weights["kinds"].is_null()) {
    for (const auto& [key, kind] : weights["kinds"].items())
      kinds += (kinds.empty() ? "" : ", ") + key + " " + kind.get<std::string>();
  }
  text += line("kinds", kinds.empty() ? "other tensors than trained weights alone" : kinds);
  text += line("XXH3-128", weights["xxh3"].get<std::string>());
  text += line("parameters", weights["parameters"].dump());
  for (const auto& [part, entry] : weights["parts"].items()) {
    text += line("  " + part, entry["parameters"].dump() + ", norm " + number(entry["norm"]));
  }
  text += "tensors\n";
  for (const Json& tensor : weights["tensors"]) {
    std::string what =
        tensor["dtype"].get<std::string>() + " " + tensor["shape"].dump() + "  norm " + number(tensor["norm"]);
    if (tensor.contains("min")) what += ", from " + number(tensor["min"]) + " to " + number(tensor["max"]);
    const std::string name = tensor["name"].get<std::string>();
    text += line(name + std::string(name.size() < 24 ? 24 - name.size() : 0, ' '), what);
  }
  if (weights.contains("gates") && !weights["gates"].is_null()) text += gates_text(weights["gates"]);
  return text;
}

}  // namespace

std::string report_text(const Json& report) {
  std::string text = report["path"].get<std::string>() + ": " + report["kind"].get<std::string>();
  if (report.contains("finished")) text += report["finished"].get<bool>() ? ", finished" : ", not finished";
  text += "\n";
  if (report.contains("config")) text += config_text(report["config"]);
  if (report.contains("stages")) text += stages_text(report);
  if (report.contains("unreadable_checkpoints")) text += unreadable_text(report["unreadable_checkpoints"]);
  if (report.contains("checkpoint")) text += checkpoint_text(report["checkpoint"]);
  if (report.contains("weights")) text += weights_text(report["weights"]);
  return text;
}

}  // namespace layalign::trainer
