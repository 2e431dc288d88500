// Package engines gives tests real database servers, each started once for a test process and
// shared by its tests:
//
//	func TestMain(m *testing.M) { engines.Main(m) }
//
//	func TestTransfer(t *testing.T) {
//		for _, e := range engines.All() {
//			t.Run(e.Name, func(t *testing.T) {
//				s := e.Server(t)
//				db := s.Open(t, s.NewDatabase(t))
//				// ...
//			})
//		}
//	}
//
// A server comes from the first of these that there is:
//
//  1. the URL of an administrator's account in the environment, e.g. XA_POSTGRES_17_URL,
//     XA_MYSQL_9_7_URL, XA_MARIADB_11_8_URL; [Engine.Env] tells the name;
//  2. Docker, under the engine's official image name and with that image's environment variables.
//     integration/setup.sh installs Docker, and builds the images where no registry can be reached.
//
// # Failure
//
// Without a server the test is skipped, says what is missing, and [Main] repeats it at the end. Where the
// environment's XA_REQUIRE names the engine, its kind or "all" (a list with commas), it fails instead.
//
// A container that a killed test process left behind is removed by the next process that
// starts one.
//
// # Concurrency
//
// Everything may be called by parallel tests. [Server.Kill] is felt by all tests that use the server: they must
// not run beside one that kills it.
package engines
