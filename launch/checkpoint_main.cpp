// layalign-checkpoint: looks at checkpoints, checks, compares, merges, exports and imports them.

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "launch/checkpoint_commands.h"
#include "launch/failure.h"
#include "launch/file_fault.h"

namespace layalign::launch {
namespace {

constexpr const char* kPathHelp =
    "a .safetensors file, a checkpoint (step-XXXXXXXX), a stage's folder, a run or an exported adapter";

/// A subcommand with a line of its use below its help.
CLI::App* subcommand(CLI::App& app, const std::string& name, const std::string& what, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer("Example:\n  layalign-checkpoint " + name + " " + example);
  return command;
}

void add_output(CLI::App* command, std::string& output, bool& force) {
  command->add_option("-o,--output", output, "file to write; it appears whole or not at all")->required();
  command->add_flag("--force", force, "replaces the file where it exists");
}

void add_layers(CLI::App* command, std::vector<int64_t>& layers) {
  command
      ->add_option("--language-layers", layers, "LLM layers in the order of the gates, comma-separated, such as 0,1,5")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
}

/// The whole command line; `chosen` gets what it asks for.
class CommandLine {
 public:
  CommandLine() {
    app.set_version_flag("--version", LAYALIGN_VERSION);
    app.require_subcommand(1);
    add_looking();
    add_writing();
  }

  CLI::App app{"Looks at trained weights and checkpoints, checks, compares, merges, exports and imports them.",
               "layalign-checkpoint"};
  std::function<int()> chosen;

 private:
  void add_looking() {
    CLI::App* look =
        subcommand(app, "inspect", "what it is: parameters, norms, gates, fingerprints, config", "runs/math");
    look->add_option("path", inspect_.path, kPathHelp)->required();
    look->add_flag("--json", inspect_.json, "prints a JSON object");
    look->callback([this] { chosen = [this] { return inspect(inspect_); }; });

    CLI::App* check =
        subcommand(app, "verify", "checks every byte against manifests and checksums, formats, and for NaN; 65 if bad",
                   "runs/math");
    check->add_option("path", verify_.path, kPathHelp)->required();
    check->callback([this] { chosen = [this] { return verify(verify_); }; });

    CLI::App* compare =
        subcommand(app, "diff", "names, shapes and largest differences; 0 if bit-equal, 1 if they differ",
                   "runs/a/2-task runs/b/2-task");
    compare->add_option("a", diff_.a, kPathHelp)->required();
    compare->add_option("b", diff_.b, "the other one")->required();
    compare->add_flag("--optimizer", diff_.optimizer, "compares AdamW's moments too (of checkpoints)");
    compare->callback([this] { chosen = [this] { return diff(diff_); }; });
  }

  void add_writing() {
    CLI::App* join = subcommand(app, "merge", "one file of trained weights; of several paths their average",
                                "runs/math/2-task/step-00000600 runs/math/2-task/step-00000800 -o average.safetensors");
    join->add_option("paths", merge_.paths, kPathHelp)->required();
    join->add_flag("--optimizer", merge_.optimizer,
                   "AdamW's moments too: exp_avg.NAME and exp_avg_sq.NAME (of one path)");
    add_output(join, merge_.output, merge_.force);
    join->callback([this] { chosen = [this] { return merge(merge_); }; });

    CLI::App* give = subcommand(app, "export", "trained weights in a form for others",
                                "runs/math -o math-adapter --format adapter --encoder-name google/mt5-xl");
    give->add_option("path", export_.path, kPathHelp)->required();
    give->add_option("--format", export_.format,
                     "adapter: a folder with weights, config.json and a model card; huggingface: the same for "
                     "transformers, with a "
                     "model in Python; layalign-reference: a file with the public code's names")
        ->required()
        ->check(CLI::IsMember({"adapter", "huggingface", "layalign-reference"}));
    give->add_option("--config", export_.config, "the config that it was trained with (default: that of its run)");
    give->add_option("--name", export_.name, "of folders: its name (default: that of the run's folder)");
    give->add_option("--encoder-name", export_.encoder_name,
                     "of folders: the encoder's name on the hub (default: its folder's)");
    give->add_option("--llm-name", export_.llm_name, "of folders: the LLM's name on the hub (default: its folder's)");
    give->add_option("--license", export_.license, "of folders: licence of the trained weights, such as apache-2.0");
    add_layers(give, export_.language_layers);
    add_output(give, export_.output, export_.force);
    give->callback([this] { chosen = [this] { return export_weights(export_); }; });

    CLI::App* take = subcommand(app, "import", "weights with the public code's names, or the oracle's, under ours",
                                "public/model.safetensors -o imported.safetensors");
    take->add_option("path", import_.path, "a .safetensors file, or a folder of them with an index")->required();
    take->add_option("--prefix", import_.prefix, "reads our names behind this, such as final.");
    add_layers(take, import_.language_layers);
    add_output(take, import_.output, import_.force);
    take->callback([this] { chosen = [this] { return import_weights(import_); }; });
  }

  InspectArguments inspect_;
  VerifyArguments verify_;
  DiffArguments diff_;
  MergeArguments merge_;
  ExportArguments export_;
  ImportArguments import_;
};

int main(int argc, char** argv) {
  CommandLine line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return line.app.exit(error) == 0 ? kDone : kUsage;
  }
  try {
    inject_file_fault();
    return line.chosen();
  } catch (...) {
    const auto [code, text] = describe(std::current_exception());
    std::cout << std::flush;
    std::cerr << "layalign-checkpoint: " << text << std::endl;
    return code;
  }
}

}  // namespace
}  // namespace layalign::launch

int main(int argc, char** argv) { return layalign::launch::main(argc, argv); }
