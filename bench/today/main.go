// The program that hostsync replaces, in its shape: for each host one search and three statements (pool look-up, upsert of
// server_resources, insert of the detail), ten hosts at once, by the libraries that such a program is written with (gorm,
// database/sql, net/http), configured as they come.
//
// It reads addresses from the standard input, one a line, and writes a line for every hundred hosts done, then one JSON
// object with the counts. The benchmark starts it and checks every row that it wrote.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

const atOnce = 10

// ER_LOCK_DEADLOCK.
const deadlock = 1213

type hostPool struct {
	ID       uint32 `gorm:"column:id"`
	HostIP   string `gorm:"column:host_ip"`
	HostName string `gorm:"column:host_name"`
	RAM      *uint32
	DiskSize *uint32
}

func (hostPool) TableName() string { return "hosts_pool" }

type serverResource struct {
	ID             uint32 `gorm:"primaryKey"`
	PoolID         uint32
	IP             string
	UsedMemory     *float64
	UsedDisk       *float64
	CPULoad        *float64 `gorm:"column:cpu_load"`
	CPUPercentMax  *float64 `gorm:"column:cpu_percent_max"`
	CPUPercentAvg  *float64 `gorm:"column:cpu_percent_avg"`
	CPUPercentMin  *float64 `gorm:"column:cpu_percent_min"`
	MemPercentMax  *float64
	MemPercentAvg  *float64
	MemPercentMin  *float64
	DiskPercentMax *float64
	DiskPercentAvg *float64
	DiskPercentMin *float64
	MonDate        string
	CreateTime     time.Time
	UpdateTime     time.Time
}

func (serverResource) TableName() string { return "server_resources" }

type executionDetail struct {
	ID             uint64
	ExecutionID    uint64
	HostIP         string `gorm:"column:host_ip"`
	HostName       string
	SyncStatus     string
	MaxCPU         *float64 `gorm:"column:max_cpu"`
	AvgCPU         *float64 `gorm:"column:avg_cpu"`
	MaxMemory      *float64
	AvgMemory      *float64
	MaxDisk        *float64
	AvgDisk        *float64
	DataPointCount int
	CreatedAt      time.Time
}

func (executionDetail) TableName() string { return "es_sync_execution_detail" }

type stats struct{ Max, Avg, Min *float64 }

func (s stats) percentOf(capacity *uint32) stats {
	if capacity == nil || *capacity == 0 {
		return stats{}
	}
	percent := func(value *float64) *float64 {
		if value == nil {
			return nil
		}
		p := *value / float64(*capacity) * 100
		return &p
	}
	return stats{percent(s.Max), percent(s.Avg), percent(s.Min)}
}

type answer struct {
	Hits struct {
		Total struct{ Value int }
	}
	Aggregations struct{ CPU, Memory, Disk stats }
}

type counts struct {
	Success   int64 `json:"success"`
	NoData    int64 `json:"no_data"`
	NotInPool int64 `json:"not_in_pool"`
}

type syncer struct {
	db       *gorm.DB
	search   string
	from, to time.Time
	counts   counts
}

func main() {
	dsn := flag.String("dsn", "", "database, as go-sql-driver/mysql writes it")
	search := flag.String("search", "", "URL of the index's _search")
	from := flag.Int64("from", 0, "start of the window, ms since 1970")
	to := flag.Int64("to", 0, "end of the window, ms since 1970")
	flag.Parse()
	if err := run(*dsn, *search, time.UnixMilli(*from).UTC(), time.UnixMilli(*to).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dsn, search string, from, to time.Time) error {
	db, err := gorm.Open(mysql.Open(dsn), &gorm.Config{Logger: logger.Default.LogMode(logger.Silent)})
	if err != nil {
		return err
	}
	s := &syncer{db: db, search: search, from: from, to: to}
	hosts := make(chan string)
	var waiting sync.WaitGroup
	var done atomic.Int64
	var first atomic.Pointer[error]
	for i := 0; i < atOnce; i++ {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			for host := range hosts {
				if err := s.sync(host); err != nil {
					err = fmt.Errorf("host %s: %w", host, err)
					first.CompareAndSwap(nil, &err)
				}
				if n := done.Add(1); n%100 == 0 {
					fmt.Println(n)
				}
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && first.Load() == nil {
		hosts <- lines.Text()
	}
	close(hosts)
	waiting.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s.counts)
}

func (s *syncer) sync(ip string) error {
	var host hostPool
	err := s.db.Where("host_ip = ? AND is_deleted = 0", ip).First(&host).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		atomic.AddInt64(&s.counts.NotInPool, 1)
		return s.insertDetail(executionDetail{HostIP: ip, SyncStatus: "not_in_pool"})
	}
	if err != nil {
		return err
	}
	found, err := s.ask(ip)
	if err != nil {
		return err
	}
	detail := executionDetail{HostIP: ip, HostName: host.HostName, DataPointCount: found.Hits.Total.Value}
	if found.Hits.Total.Value == 0 {
		atomic.AddInt64(&s.counts.NoData, 1)
		detail.SyncStatus = "no_data"
		return s.insertDetail(detail)
	}
	if err := s.upsert(ip, host, found); err != nil {
		return err
	}
	cpu, memory, disk := found.Aggregations.CPU, found.Aggregations.Memory, found.Aggregations.Disk
	detail.SyncStatus = "success"
	detail.MaxCPU, detail.AvgCPU = cpu.Max, cpu.Avg
	detail.MaxMemory, detail.AvgMemory = memory.Max, memory.Avg
	detail.MaxDisk, detail.AvgDisk = disk.Max, disk.Avg
	atomic.AddInt64(&s.counts.Success, 1)
	return s.insertDetail(detail)
}

func (s *syncer) ask(ip string) (*answer, error) {
	body, err := json.Marshal(map[string]any{
		"size": 0,
		"query": map[string]any{"bool": map[string]any{"filter": []any{
			map[string]any{"range": map[string]any{"@timestamp": map[string]any{
				"gte": s.from.UnixMilli(), "lt": s.to.UnixMilli(), "format": "epoch_millis",
			}}},
			map[string]any{"term": map[string]any{"hostIp.keyword": ip}},
		}}},
		"aggs": map[string]any{
			"cpu":    map[string]any{"stats": map[string]any{"field": "cpu"}},
			"memory": map[string]any{"stats": map[string]any{"field": "available_memory"}},
			"disk":   map[string]any{"stats": map[string]any{"field": "total_disk_space_all"}},
		},
	})
	if err != nil {
		return nil, err
	}
	response, err := http.Post(s.search, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d: %.200s", response.StatusCode, text)
	}
	var found answer
	return &found, json.Unmarshal(text, &found)
}

func (s *syncer) upsert(ip string, host hostPool, found *answer) error {
	cpu := found.Aggregations.CPU
	memory := found.Aggregations.Memory.percentOf(host.RAM)
	disk := found.Aggregations.Disk.percentOf(host.DiskSize)
	now := time.Now().UTC()
	row := serverResource{
		PoolID: host.ID, IP: ip, MonDate: s.to.Format("2006-01-02"), CreateTime: now, UpdateTime: now,
		UsedMemory: found.Aggregations.Memory.Max, UsedDisk: found.Aggregations.Disk.Max, CPULoad: cpu.Max,
		CPUPercentMax: cpu.Max, CPUPercentAvg: cpu.Avg, CPUPercentMin: cpu.Min,
		MemPercentMax: memory.Max, MemPercentAvg: memory.Avg, MemPercentMin: memory.Min,
		DiskPercentMax: disk.Max, DiskPercentAvg: disk.Avg, DiskPercentMin: disk.Min,
	}
	overwriting := clause.OnConflict{DoUpdates: clause.AssignmentColumns([]string{
		"pool_id", "used_memory", "used_disk", "cpu_load", "cpu_percent_max", "cpu_percent_avg", "cpu_percent_min",
		"mem_percent_max", "mem_percent_avg", "mem_percent_min", "disk_percent_max", "disk_percent_avg",
		"disk_percent_min", "update_time",
	})}
	return again(func() error { return s.db.Clauses(overwriting).Create(&row).Error })
}

func (s *syncer) insertDetail(detail executionDetail) error {
	detail.ExecutionID = 1
	detail.CreatedAt = time.Now().UTC()
	return again(func() error { return s.db.Create(&detail).Error })
}

// again makes a write again that MySQL breaks off as a deadlock, as upserts of neighbours are at its default isolation level:
// the benchmark compares with no failures.
func again(write func() error) error {
	for {
		err := write()
		var refused *driver.MySQLError
		if !errors.As(err, &refused) || refused.Number != deadlock {
			return err
		}
	}
}
