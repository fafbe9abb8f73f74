// Asks cyclonus, a third-party reading of what NetworkPolicies mean, which traffic they allow.
//
// Standard input is {"policies": [NetworkPolicy, …], "traffic": [cyclonus' Traffic, …]}, standard output a JSON list with
// true for each traffic that may pass. cyclonus' own program prints tables for humans.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	networking "k8s.io/api/networking/v1"
)

type question struct {
	Policies []*networking.NetworkPolicy `json:"policies"`
	Traffic  []*matcher.Traffic          `json:"traffic"`
}

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer() error {
	decoder := json.NewDecoder(os.Stdin)
	// A field that Kubernetes' types do not have would be ignored, and the policy mean something else.
	decoder.DisallowUnknownFields()
	var asked question
	if err := decoder.Decode(&asked); err != nil {
		return err
	}
	simplify := true
	policies := matcher.BuildNetworkPolicies(simplify, asked.Policies)
	allowed := make([]bool, len(asked.Traffic))
	for index, traffic := range asked.Traffic {
		allowed[index] = policies.IsTrafficAllowed(traffic).IsAllowed()
	}
	return json.NewEncoder(os.Stdout).Encode(allowed)
}
