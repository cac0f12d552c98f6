// Command robfig-table prints what robfig/cron v3 makes of many expressions, for the test
// shared/schedule/tests/schedule_robfig.rs to compare with.
//
// The output is the same on every run: a fixed seed, and the time zone data linked in.
package main

import (
	"bufio"
	"fmt"
	"log"
	"math/rand"
	"os"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

const (
	seed  = 20260105
	drawn = 560 // expressions made at random, beside those written out
	fires = 10  // per expression and zone
)

var (
	zones = []string{
		"UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe",
	}
	months   = strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")
	weekdays = strings.Fields("SUN MON TUE WED THU FRI SAT")

	// Instants a day or two before a clock change in New York, Berlin and Lord Howe.
	changes = []int64{
		date(2021, 3, 13), date(2024, 11, 2), date(2028, 3, 11), date(2031, 11, 1),
		date(2022, 3, 26), date(2025, 10, 25), date(2027, 3, 27), date(2033, 10, 29),
		date(2023, 4, 1), date(2024, 10, 5), date(2026, 4, 3), date(2029, 10, 5),
	}

	parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month |
		cron.Dow | cron.Descriptor)
)

// Every form of the notation at least once.
var written = strings.Split(strings.TrimSpace(`
* * * * * *
? ? ? ? ? ?
0 0 2 * * ?
0 30 2 * * *
30 2 * * *
*/5 * * * *
0 0 0 * * 0
0 0 0 * * SUN
0 0 0 * * sun,Wed,SAT
0 0 0 * * MON-FRI
0 0 9-17 * * 1-5
0 0 9-17/4 * * 1-5
0 0/7 * * * *
15/20 3/17 1/5 * * *
0 0 0 1 jan *
0 0 0 1 JAN-MAR,Dec *
0 0 0 1 */3 *
0 0 0 1 feb/4 *
0 0 0 31 * *
0 0 0 29 2 *
0 0 12 29 feb ?
0 0 0 30,31 * ?
0 0 0 13 * 5
0 0 0 13 * FRI
0 0 0 31 2 1
0 0 0 */2 * 1
0 0 0 */1 * 1
0 0 0 ?/1 * 1
0 0 0 1-31 * 1
0 0 0 13 * 0-6
0 0 0 1,* * 1
0 0 0 13 * */2
0 0 0 13 * *,2
0 0 0 ? * 1/2
0 0 0 10/10 * 3
0 */90 * * * *
0 5/99 * * * *
05 007 08 09 010 *
59 59 23 31 12 *
0 0 0 1 1 ?
0  15   4 	* * *
1,2,3-5,40/9 0 0 * * *
0 0,0-0,30 */23 * * *
@yearly
@annually
@monthly
@weekly
@daily
@midnight
@hourly
@every 1s
@every 90s
@every 1h30m
@every 1.5h
@every 1h0m0.9s
@every 500ms
@every 2500ms
@every 1m1ms
@every 100h
@every +3m
@every 1000000us
TZ=Asia/Tokyo 0 30 9 * * *
CRON_TZ=America/New_York 0 0 4 * * MON
TZ=UTC @daily
CRON_TZ=Asia/Kolkata @hourly
TZ=Europe/Berlin 30 5 * * 1-5
`), "\n")

// What robfig/cron refuses, and so must be refused.
var refused = strings.Split(strings.TrimSpace(`
60 * * * * *
* 60 * * * *
* * 24 * * *
* * * 0 * *
* * * 32 * *
* * * * 0 *
* * * * 13 *
* * * * * 8
0 0 0 * * fri-sun
0 0 0 * nov-feb *
*/0 * * * * *
5/0 * * * * *
1-5/0 * * * * *
9-3 * * * * *
1-2-3 * * * * *
1/2/3 * * * * *
-1 * * * * *
1- * * * * *
*/ * * * * *
/5 * * * * *
*/x * * * * *
x * * * * *
1.5 * * * * *
** * * * * *
0 0 0 L * *
0 0 0 15W * *
0 0 0 * * 5L
0 0 0 * * 5#2
0 0 0 * * monday
0 0 0 1 january *
mon * * * * *
*
* * * *
* * * * * * *
@
@fortnightly
@Daily
@every
@every 5
@every 1d
@every soon
TZ=Nowhere/Land 0 0 0 * * *
CRON_TZ=Nowhere/Land @daily
`), "\n")

func date(year, month, day int) int64 {
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Unix()
}

// A field with values from low to high; a name stands for a value now and then.
func field(random *rand.Rand, low, high int, names []string) string {
	value := func(from int) int { return from + random.Intn(high-from+1) }
	text := func(value int) string {
		if names != nil && random.Intn(3) == 0 {
			return names[value-low]
		}
		return fmt.Sprint(value)
	}
	item := func() string {
		switch first := value(low); random.Intn(6) {
		case 0:
			return fmt.Sprintf("*/%d", 2+random.Intn(high/2))
		case 1:
			return fmt.Sprintf("%s/%d", text(first), 1+random.Intn(high))
		case 2:
			return text(first) + "-" + text(value(first))
		case 3:
			return fmt.Sprintf("%s-%s/%d", text(first), text(value(first)), 1+random.Intn(5))
		default:
			return text(first)
		}
	}
	items := []string{item()}
	for len(items) < 4 && random.Intn(3) == 0 {
		items = append(items, item())
	}
	return strings.Join(items, ",")
}

func open(random *rand.Rand) string {
	return []string{"*", "*", "*", "?"}[random.Intn(4)]
}

func draw(random *rand.Rand) string {
	maybe := func(chance int, low, high int, names []string) string {
		if random.Intn(100) < chance {
			return field(random, low, high, names)
		}
		return open(random)
	}
	hour := maybe(80, 0, 23, nil)
	if random.Intn(4) == 0 {
		hour = field(random, 0, 3, nil) // the hours in which clocks change
	}
	fields := []string{
		maybe(90, 0, 59, nil), maybe(85, 0, 59, nil), hour,
		maybe(35, 1, 31, nil), maybe(30, 1, 12, months), maybe(40, 0, 6, weekdays),
	}
	// Most tasks fire a few times a day, and only those get through a clock change in ten fires.
	switch random.Intn(5) {
	case 0:
		fields = fields[1:]
	case 1, 2, 3:
		fields[0] = fmt.Sprint(random.Intn(60))
	}
	if random.Intn(5) < 3 {
		fields[len(fields)-5] = fmt.Sprint(random.Intn(60))
	}
	return strings.Join(fields, " ")
}

// Once or twice a night, at the hours in which clocks change.
func night(random *rand.Rand) string {
	return fmt.Sprintf("%d %s %s * * *", random.Intn(60), field(random, 0, 59, nil),
		[]string{"1", "2", "1,2", "0-2", "2,3", "*"}[random.Intn(6)])
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	random := rand.New(rand.NewSource(seed))
	fmt.Fprintf(out, "expression\tstart\t%s\n", strings.Join(zones, "\t"))

	for row := 0; row < len(written)+drawn; {
		expression, start := draw(random), date(2015, 1, 1)+random.Int63n(date(2035, 1, 1)-date(2015, 1, 1))
		if random.Intn(3) == 0 {
			start = changes[random.Intn(len(changes))] + random.Int63n(2*86400)
			if random.Intn(2) == 0 {
				expression = night(random)
			}
		}
		if row < len(written) {
			expression = written[row]
		}
		if len(expression) > 100 {
			continue
		}
		schedule, err := parser.Parse(expression)
		if err != nil {
			log.Fatalf("%q: %v", expression, err)
		}
		if schedule.Next(time.Unix(start, 0).UTC()).IsZero() {
			continue // never, or not within the five years robfig/cron looks ahead
		}
		fmt.Fprintf(out, "%s\t%d", strings.ReplaceAll(expression, "\t", " "), start)
		for _, name := range zones {
			zone, err := time.LoadLocation(name)
			if err != nil {
				log.Fatal(err)
			}
			separator, last := "\t", time.Unix(start, 0).In(zone)
			for range fires {
				next := schedule.Next(last)
				if next.IsZero() {
					break
				}
				fmt.Fprintf(out, "%s%d", separator, next.Unix()-last.Unix())
				separator, last = ",", next
			}
		}
		fmt.Fprintln(out)
		row++
	}
	for _, expression := range refused {
		if _, err := parser.Parse(expression); err == nil {
			log.Fatalf("%q is taken", expression)
		}
		fmt.Fprintf(out, "%s\trefused\n", expression)
	}
}
