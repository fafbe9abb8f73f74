// Command rulecheck reads Prometheus rules from its input and says what is wrong with it, by Prometheus' own parser: what
// `promtool check rules` does, without the service discovery of every cloud that promtool is built with.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	content, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	expressions := parser.NewParser(parser.Options{})
	_, errors := rulefmt.Parse(content, false, model.LegacyValidation, expressions, slog.Default())
	for _, problem := range errors {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(errors) > 0 {
		os.Exit(1)
	}
}
